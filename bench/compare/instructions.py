"""Instructions per request in user space, by valgrind's callgrind; `scripts/instructions` calls it."""

import argparse
import json
import os
import pathlib
import shlex
import sys
import tempfile

import callgrind
import micro
import scenario
from build import BuildError, build
from lockstep import Lockstep
from place import Place
from server import Server, StartError
from subject import all_subjects

SCENARIOS = "plaintext,json,pipelined"
REQUESTS = 20_000
CONNECTIONS = 128
# Before the first point: caches fill, buffers grow, routes are called for the first time.
WARMUP_ROUNDS = 4
LARGEST = 3


def main() -> None:
    options = arguments()
    place = Place.here(options.server_cpu, options.load_cpu)
    if options.micro is not None:
        results = micro.run(place.target, options.micro)
        print(micro.table(results))
        keep(options, results)
        return
    cases = [one_case(name) for name in options.scenario.split(",")]
    subjects = chosen(options.peers.split(","))
    os.sched_setaffinity(0, {place.load_cpu})
    results = []
    try:
        for subject in subjects:
            build(subject, place)
            for case in cases:
                if all(need in subject.answers for need in case.needs):
                    results.append(measure(subject, case, place, options))
                    show(results[-1])
    except (BuildError, StartError, callgrind.Failed, OSError) as error:
        raise SystemExit(f"instructions: {error}") from error
    keep(options, results)


def keep(options, results: list) -> None:
    if options.json:
        command = shlex.join(["./scripts/instructions", *sys.argv[1:]])
        text = json.dumps({"command": command, "results": results}, indent=1)
        options.json.write_text(text + "\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/instructions", description=__doc__)
    parser.add_argument("--scenario", default=SCENARIOS, metavar="X,Y")
    parser.add_argument("--requests", type=positive, default=REQUESTS, metavar="N")
    parser.add_argument("--connections", type=positive, default=CONNECTIONS, metavar="N")
    parser.add_argument("--peers", default="arena", metavar="A,B")
    parser.add_argument("--micro", nargs="?", const="", metavar="PART")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE")
    parser.add_argument("--server-cpu", type=int, default=0, metavar="CPU")
    parser.add_argument("--load-cpu", type=int, default=1, metavar="CPU")
    return parser.parse_args()


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return int(text)


def one_case(name: str) -> scenario.Case:
    """The scenario's requests; how many connections ask is this program's own business."""
    return scenario.cases([name], is_quick=False)[0]


def chosen(names: list) -> list:
    known = {one.name: one for one in all_subjects()}
    if unknown := [name for name in names if name not in known]:
        raise SystemExit(f"No peer {', '.join(unknown)}; there are {', '.join(known)}.")
    return [known[name] for name in names]


def measure(subject, case, place: Place, options) -> dict:
    """Two runs, one with twice the requests: what they share (start and end) cancels out."""
    # Of cheap requests more are needed until what happens by chance weighs less than a percent.
    requests = options.requests * max(1, case.pipeline // 4)
    once, first = run(subject, case, place, options.connections, requests)
    twice, second = run(subject, case, place, options.connections, 2 * requests)
    profile = twice.per(second - first, once)
    # Valgrind makes a program some fifty times slower, but not the clock: what is done by the
    # clock, such as the passes of glommio's reactor, happens too often and is left out.
    counted = profile.inclusive.get(subject.root, profile.total)
    return {
        "subject": subject.name, "scenario": case.scenario, "connections": options.connections,
        "requests": second - first, "instructions_per_request": round(counted, 1),
        "by_the_clock": round(profile.total - counted, 1),
        "largest": [
            {"function": name, "own": round(own, 1), "inclusive": round(inclusive, 1)}
            for name, own, inclusive in profile.largest(LARGEST, subject.root)
        ],
    }  # fmt: skip


def run(subject, case, place: Place, connections: int, count: int) -> tuple:
    """The profile of a server that has answered so many requests, and how many they were."""
    with tempfile.TemporaryDirectory(prefix="instructions-") as folder:
        out = pathlib.Path(folder) / "callgrind.out"
        with Server(subject, place, under=callgrind.prefix(out)) as server:
            with Lockstep((server.host, server.port), case, connections) as client:
                client.ask(WARMUP_ROUNDS * connections * case.pipeline)
                asked = client.ask(count)
        return callgrind.read(out), asked


def show(result: dict) -> None:
    print(
        f"{result['scenario']}: {result['instructions_per_request']:,.1f} instructions a request "
        f"({result['subject']}, {result['connections']} connections, "
        f"{result['requests']:,} requests; {result['by_the_clock']:,.1f} more by the clock)"
    )
    print(f"  {'own':>9} {'inclusive':>11}")
    for one in result["largest"]:
        print(f"  {one['own']:9,.1f} {one['inclusive']:11,.1f}  {one['function']}")


if __name__ == "__main__":
    main()
