"""The comparison from the command line; `scripts/compare` sees to the tools and calls it."""

import argparse
import json
import os
import pathlib
import shlex
import sys
import time

import corelane
import machine
import plan
import wrk
from build import BuildError, build
from check import check
from place import Place, fill
from report.page import write as write_report
from scenario import cases as read_cases
from server import Server, StartError
from subject import ROOT, all_subjects

QUICK_SUBJECTS = (
    "ceiling", "arena", "hyper", "axum", "actix-web", "ntex", "may_minihttp", "monoio", "nginx",
)  # fmt: skip
QUICK_ROUNDS, ROUNDS = 3, 5
QUICK_SECONDS, SECONDS = 1, 3
# Of the closed-loop rounds; what comes before and after fits into the rest of five minutes.
QUICK_BUDGET_SECONDS = 235
OPEN_LOOP_CASE = "plaintext@64"


def main() -> None:
    options = arguments()
    if options.report:
        write_report(json.loads(options.report.read_text()), options.report.parent / "report.html")
        return
    place = Place.here(options.server_cpu, options.load_cpu)
    # What this program itself does belongs to the load's CPU: the server has its own for itself.
    cases = read_cases(split(options.scenarios), options.quick)
    subjects = chosen(split(options.peers), options.quick)
    skipped = {}
    ready = [one for one in subjects if prepare(one, place, skipped)]
    os.sched_setaffinity(0, {place.load_cpu})
    results = run(options, place, ready, cases)
    results["skipped"] = skipped
    results["subjects"] = [describe(one) for one in ready]
    folder = options.output or ROOT / "bench" / "results" / time.strftime("%Y-%m-%d")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    write_report(results, folder / "report.html")
    print(f"{folder / 'report.html'}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/compare", description=__doc__.splitlines()[0])
    parser.add_argument("--peers", default="", metavar="A,B", help="only these subjects")
    parser.add_argument("--scenarios", default="", metavar="X,Y", help="only these scenarios")
    parser.add_argument("--rounds", type=int, metavar="N", help="5, or 3 with --quick")
    parser.add_argument("--seconds", type=int, metavar="N", help="of a run: 3, or 1 with --quick")
    parser.add_argument("--quick", action="store_true", help="fewer of everything: five minutes")
    parser.add_argument("--server-cpu", type=int, default=0, metavar="CPU")
    parser.add_argument("--load-cpu", type=int, default=1, metavar="CPU")
    parser.add_argument("--output", type=pathlib.Path, metavar="FOLDER", help="for the results")
    parser.add_argument(
        "--report", type=pathlib.Path, metavar="RESULTS.JSON", help="only write its report again"
    )
    return parser.parse_args()


def split(names: str) -> list:
    return [name for name in names.split(",") if name]


def chosen(names: list, is_quick: bool) -> list:
    """The named subjects, or all; the quick ones where nothing is named."""
    subjects = all_subjects()
    unknown = set(names) - {one.name for one in subjects}
    if unknown:
        known = ", ".join(one.name for one in subjects)
        raise SystemExit(f"No peer {', '.join(sorted(unknown))}; there are {known}.")
    wanted = names or (QUICK_SUBJECTS if is_quick else [one.name for one in subjects])
    return [one for one in subjects if one.name in wanted]


def prepare(subject, place: Place, skipped: dict) -> bool:
    """Builds and checks one; whatever it can not do is noted with the reason."""
    plan.say(f"building and checking {subject.name}")
    try:
        build(subject, place)
        with Server(subject, place) as server:
            for capability, reason in check(server, place.dataset).items():
                subject.withdraw(capability, reason)
                plan.say(f"  {capability}: {reason}")
    except (BuildError, StartError, OSError) as error:
        skipped[subject.title] = str(error)
        plan.say(f"  skipped: {error}")
        return False
    return True


def run(options, place: Place, subjects: list, cases: list) -> dict:
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    seconds = options.seconds or (QUICK_SECONDS if options.quick else SECONDS)
    begin = time.time()
    has_open_loop = corelane.is_there()
    facts = machine.facts(place, [wrk, corelane] if has_open_loop else [wrk])
    budget = QUICK_BUDGET_SECONDS if options.quick else float("inf")
    closed = plan.closed_loop(subjects, cases, rounds, place, wrk, seconds, budget)
    opened = []
    matching = [case for case in cases if case.name == OPEN_LOOP_CASE]
    if has_open_loop and matching:
        opened = plan.open_loop(
            subjects, matching[0], closed, rounds, place, corelane, seconds, options.quick
        )
    return {
        "format": 1,
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(begin)),
        "minutes": round((time.time() - begin) / 60, 1),
        "command": shlex.join(["./scripts/compare", *sys.argv[1:]]),
        "rounds": max((record["round"] for record in closed), default=0),
        "seconds": seconds,
        "machine": facts,
        "cases": [describe_case(case, place, seconds) for case in cases],
        "runs": closed,
        "open_loop": opened,
        "open_loop_missing": "" if has_open_loop else "corelane-bench is not built",
        "idle": plan.idle_connections(subjects, place),
    }


def describe_case(case, place: Place, seconds: int) -> dict:
    folder = pathlib.Path("RUN")
    words = wrk.command_words(case, "URL", seconds, place.load_cpu, folder)
    return {
        "name": case.name, "label": case.label, "about": case.about,
        "scenario": case.scenario, "connections": case.connections, "needs": case.needs,
        "load_command": shlex.join(words), "load_script": wrk.script(case),
    }  # fmt: skip


def describe(subject) -> dict:
    # As typed in the root of the source tree: the report holds no path of somebody's machine.
    values = {
        "ADDRESS": "127.0.0.1:PORT", "HOST": "127.0.0.1", "PORT": "PORT", "CPU": "CPU",
        "RUN": "RUN", "TARGET": "target", "BUILD": f"target/peers/{subject.name}",
        "PEERS": "bench/peers", "DATASET": "bench/peers/dataset.json",
    }  # fmt: skip
    words = [fill(word, values) for word in subject.start["command"]]
    return {
        "name": subject.name, "title": subject.title, "language": subject.language,
        "settings": subject.settings, "versions": subject.versions,
        "answers": subject.answers, "missing": subject.missing,
        "command": shlex.join(["taskset", "--cpu-list", "CPU", *words]),
    }  # fmt: skip


if __name__ == "__main__":
    main()
