"""What is run in which order: the rounds, then the open loop, then the idle connections."""

import statistics
import sys
import time

import idle
from measure import measure
from place import Place
from scenario import Case
from server import Server, StartError
from subject import Subject

OPEN_LOOP_SHARES = (0.3, 0.6, 0.8)
SWEEP_SHARES = (0.2, 0.5, 0.8, 0.95, 1.1)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def can(subject: Subject, case: Case) -> bool:
    return all(need in subject.answers for need in case.needs)


def closed_loop(subjects, cases, rounds, place: Place, tool, seconds, budget_seconds) -> list:
    """Interleaved: a disturbance of the machine meets all subjects alike, not one of them.

    A round that would not end within the budget is not begun.
    """
    records = []
    begin = time.monotonic()
    for number in range(1, rounds + 1):
        elapsed = time.monotonic() - begin
        if number > 1 and elapsed * number / (number - 1) > budget_seconds:
            say(f"round {number} left out: it would end after {budget_seconds} s")
            break
        for case in cases:
            say(f"round {number} of {rounds}: {case.label}")
            for subject in subjects:
                if can(subject, case):
                    record = measure(subject, case, place, tool, seconds)
                    records.append(record | {"round": number})
                    if failure := record.get("failure"):
                        say(f"  {subject.name}: {failure}")
    return records


def capacity(records: list, subject: str, case: str) -> float:
    rates = [
        record["requests_per_second"]
        for record in records
        if (record["subject"], record["case"]) == (subject, case) and "failure" not in record
    ]
    return statistics.median(rates) if rates else 0


def open_loop(subjects, case: Case, closed: list, rounds, place, tool, seconds, is_quick) -> list:
    """At shares of the slowest subject's capacity, so that nobody is asked for more than it can;
    then each at shares of its own, to see where it stops keeping up."""
    able = [one for one in subjects if can(one, case)]
    limits = {one.name: capacity(closed, one.name, case.name) for one in able}
    able = [one for one in able if limits[one.name] > 0]
    if not able:
        return []
    slowest = min(limits[one.name] for one in able)
    records = []
    for number in range(1, (1 if is_quick else rounds) + 1):
        plans = [("shared", share) for share in OPEN_LOOP_SHARES]
        plans += [("own", share) for share in SWEEP_SHARES]
        if is_quick:
            plans = plans[1:2]
        for kind, share in plans:
            say(f"open loop, round {number}: {share:.0%} of the capacity ({kind})")
            for subject in able:
                rate = share * (slowest if kind == "shared" else limits[subject.name])
                record = measure(subject, case, place, tool, seconds, rate)
                records.append(record | {"round": number, "kind": kind, "share": share})
    return records


def idle_connections(subjects: list, place: Place) -> dict:
    """Bytes of resident memory for each idle connection, by subject."""
    say(f"{idle.CONNECTIONS} idle connections")
    results = {}
    for subject in subjects:
        try:
            with Server(subject, place) as server:
                results[subject.name] = idle.bytes_per_connection(server)
        except (StartError, OSError) as error:
            results[subject.name] = {"failure": f"{type(error).__name__}: {error}"[:200]}
            say(f"  {subject.name}: {error}")
        time.sleep(0.1)
    return results
