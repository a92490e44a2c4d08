"""The comparison from the command line; `scripts/compare` sees to the tools and calls it."""

import argparse
import json
import os
import pathlib
import shlex
import signal
import sys
import time

import corelane
import machine
import plan
import wrk
from build import BuildError, build
from check import check
from place import DATASET, Place, fill
from report.page import write as write_report
from report.readme import update as update_readme
from results import Results
from run import Run, say
from scenario import cases as read_cases
from server import Server, StartError
from subject import ROOT, all_subjects

QUICK_SUBJECTS = (
    "ceiling", "arena", "hyper", "axum", "actix-web", "ntex", "may_minihttp", "monoio", "nginx",
)  # fmt: skip
QUICK_ROUNDS, ROUNDS = 3, 5
QUICK_SECONDS, SECONDS = 1, 2
# Of all runs; the checks before and the report after them fit into the rest of five minutes.
QUICK_BUDGET_SECONDS = 270


def main() -> None:
    options = arguments()
    if options.report:
        report(options.report)
        return
    if options.readme:
        update_readme(ROOT / "README.md", options.readme, json.loads(options.readme.read_text()))
        return
    place = Place.here(options.server_cpu, options.load_cpu)
    # What this program itself does belongs to the load's CPU: the server has its own for itself.
    cases = read_cases(split(options.scenarios), options.quick)
    subjects = chosen(split(options.peers), options.quick)
    folder = options.output or ROOT / "bench" / "results" / time.strftime("%Y-%m-%d")
    results = Results(folder, place.target)
    ready = [one for one in subjects if prepare(one, place, results.skipped)]
    os.sched_setaffinity(0, {place.load_cpu})
    # A kill is an interruption like any other: what was measured is kept and reported.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    run(options, place, ready, cases, results)
    report(results.path)


def report(path: pathlib.Path) -> None:
    """Writes the page of a results file beside it."""
    page = path.parent / "report.html"
    write_report(json.loads(path.read_text()), page)
    print(page)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/compare", description=__doc__.splitlines()[0])
    parser.add_argument("--peers", default="", metavar="A,B", help="only these subjects")
    parser.add_argument("--scenarios", default="", metavar="X,Y", help="only these scenarios")
    parser.add_argument("--rounds", type=int, metavar="N", help="5, or 3 with --quick")
    parser.add_argument("--seconds", type=int, metavar="N", help="of a run: 2, or 1 with --quick")
    parser.add_argument("--quick", action="store_true", help="fewer of everything: five minutes")
    parser.add_argument("--server-cpu", type=int, default=0, metavar="CPU")
    parser.add_argument("--load-cpu", type=int, default=1, metavar="CPU")
    parser.add_argument("--output", type=pathlib.Path, metavar="FOLDER", help="for the results")
    parser.add_argument("--resume", action="store_true", help="goes on with the results there")
    parser.add_argument(
        "--report", type=pathlib.Path, metavar="RESULTS.JSON", help="only write its report again"
    )
    parser.add_argument(
        "--readme", type=pathlib.Path, metavar="RESULTS.JSON", help="only make the README's table"
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
    say(f"building and checking {subject.name}")
    try:
        build(subject, place)
        with Server(subject, place) as server:
            subject.startup_seconds = server.startup_ms / 1000
            for capability, reason in check(server, place.dataset).items():
                subject.withdraw(capability, reason)
                say(f"  {capability}: {reason}")
    except (BuildError, StartError, OSError) as error:
        skipped[subject.title] = str(error)
        say(f"  skipped: {error}")
        return False
    return True


def run(options, place: Place, subjects: list, cases: list, results: Results) -> None:
    """Carries out the plan; what it has is kept even where it is stopped."""
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    seconds = options.seconds or (QUICK_SECONDS if options.quick else SECONDS)
    has_open_loop = corelane.is_there()
    steps = plan.steps(subjects, cases, rounds, options.quick, has_open_loop)
    begin = time.time()
    if options.resume:
        results.resume()
        if results.table.get("seconds", seconds) != seconds:
            raise SystemExit(f"These results have runs of {results.table['seconds']} s.")
    results.describe(
        date=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(begin)),
        command=shlex.join(["./scripts/compare", *sys.argv[1:]]),
        seconds=seconds,
        machine=machine.facts(place, [wrk, corelane] if has_open_loop else [wrk]),
        cases=[describe_case(case, place, seconds) for case in cases],
        subjects=[describe(one) for one in subjects],
        skipped=results.skipped,
        open_loop_missing="" if has_open_loop else "corelane-bench is not built",
    )
    budget = QUICK_BUDGET_SECONDS if options.quick else float("inf")
    doing = Run(steps, results, place, seconds, budget)
    say(f"{doing.count} runs, about {plan.duration(doing.left(doing.steps))}; kept as they come in")
    try:
        doing.all()
    except KeyboardInterrupt:
        say("stopped; scripts/compare --resume with the same options goes on")
    results.table["minutes"] = round((time.time() - begin) / 60, 1)
    results.save()


def describe_case(case, place: Place, seconds: int) -> dict:
    folder = pathlib.Path("RUN")
    words = wrk.command_words(case, "URL", case.seconds(seconds), place.load_cpu, folder)
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
        "PEERS": "bench/peers", "DATASET": str(DATASET.relative_to(ROOT)),
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
