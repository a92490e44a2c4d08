"""Results as a comparison writes them, without one having been made."""

import itertools
import random

PERCENTILES = ("50", "75", "90", "95", "99", "99.5", "99.9", "99.99", "100")
# CPU per request of each subject, in microseconds.
COSTS = {"ceiling": 5.0, "arena": 5.4, "hyper": 6.8, "slow-one": 60.0, "nginx": 5.0}
CASES = ("plaintext@1", "plaintext@64")


def results() -> dict:
    chance = random.Random(7)
    runs = [
        run(subject, case, number, chance)
        for number, case, subject in itertools.product((1, 2, 3), CASES, COSTS)
    ]
    opened = [
        run(subject, "plaintext@64", 1, chance)
        | {"kind": kind, "share": share, "rate": share * 1e6 / COSTS[subject]}
        for kind, share, subject in itertools.product(("shared", "own"), (0.3, 0.8), COSTS)
    ]
    runs.append({"subject": "hyper", "case": CASES[0], "round": 4, "failure": "it <ended>"})
    return {
        "date": "2026-01-01 00:00 UTC", "command": "./scripts/compare", "rounds": 3, "seconds": 1,
        "machine": {"CPU": "a <CPU>", "Kernel": "Linux 6.18"}, "runs": runs, "open_loop": opened,
        "skipped": {"Robyn": "does not build"}, "cases": [case(name) for name in CASES],
        "subjects": [subject(name) for name in COSTS],
        "idle": {name: {"connections": 10000, "bytes": 500.0} for name in COSTS},
    }  # fmt: skip


def run(subject: str, case: str, number: int, chance: random.Random) -> dict:
    cost = COSTS[subject] * chance.uniform(0.99, 1.01)
    latency = {p: cost * 4 * (index + 1) ** 2 for index, p in enumerate(PERCENTILES)}
    return {
        "subject": subject, "case": case, "round": number, "cpu_us_per_request": cost,
        "requests_per_second": 1e6 / cost, "server_cpu_share": 0.99, "others_cpu_share": 0.01,
        "memory_peak_kib": 4096, "startup_ms": 9.5, "percentiles_us": latency, "errors": {},
    }  # fmt: skip


def case(name: str) -> dict:
    return {
        "name": name, "label": name, "about": "About it.", "scenario": "plaintext",
        "connections": 64, "needs": ["plaintext"], "load_command": "wrk URL", "load_script": "--",
    }  # fmt: skip


def subject(name: str) -> dict:
    titles = {"arena": "Corelane"}
    return {
        "name": name, "title": titles.get(name, name), "language": "Rust", "settings": "none",
        "versions": {name: "1.0"}, "answers": ["plaintext"], "missing": {}, "command": name,
    }  # fmt: skip
