"""Runs the steps of a plan, says how far it is, and keeps what it has after each group."""

import itertools
import statistics
import sys
import time

import corelane
import idle
import wrk
from measure import measure
from place import Place
from plan import Step, duration
from results import Results
from server import Server, StartError


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class Run:
    """A plan that is being carried out."""

    def __init__(self, steps: list, results: Results, place: Place, seconds: float, budget: float):
        """`budget` in seconds: a round that would end after it, with all that follows the rounds,
        is not begun; the first is."""
        self.results, self.place, self.seconds, self.budget = results, place, seconds, budget
        done = results.done()
        self.steps = [step for step in steps if step.key not in done]
        self.count = len(self.steps)
        self.begin = time.monotonic()
        # What the steps so far were thought to take: with what they took, the rest is known.
        self.planned_so_far = 0.0

    def all(self) -> None:
        while self.steps:
            first = self.steps[0]
            if first.kind == "closed" and first.round > 1 and not self.has_time_for(first.round):
                say(f"round {first.round} left out: it would end after {duration(self.budget)}")
                self.steps = [step for step in self.steps if step.kind != "closed"]
                continue
            group = list(itertools.takewhile(lambda step: step.group == first.group, self.steps))
            position = self.count - len(self.steps) + len(group)
            left = self.left(self.steps)
            say(f"{first.group}: to {position} of {self.count} runs, {duration(left)} left")
            for step in group:
                self.take(step)
            self.steps = self.steps[len(group) :]
            self.results.save()

    def take(self, step: Step) -> None:
        record = self.idle(step) if step.kind == "idle" else self.load(step)
        self.planned_so_far += step.seconds(self.seconds)
        self.results.add(step, record)
        if failure := record.get("failure"):
            say(f"  {step.subject.name}: {failure}")

    def load(self, step: Step) -> dict:
        seconds = step.case.seconds(self.seconds)
        if step.kind == "closed":
            return measure(step.subject, step.case, self.place, wrk, seconds)
        rate = step.share * self.capacity(step)
        return measure(step.subject, step.case, self.place, corelane, seconds, rate)

    def idle(self, step: Step) -> dict:
        """Bytes of resident memory for each idle connection."""
        try:
            with Server(step.subject, self.place) as server:
                return idle.bytes_per_connection(server)
        except (StartError, OSError) as error:
            return {"failure": f"{type(error).__name__}: {error}"[:200]}

    def capacity(self, step: Step) -> float:
        """Requests a second in the closed loop: the subject's own, or the slowest one's, so that
        nobody is asked for more than it can."""
        rates = {}
        for run in self.results.table["runs"]:
            if run["case"] == step.case.name and "failure" not in run:
                rates.setdefault(run["subject"], []).append(run["requests_per_second"])
        medians = {name: statistics.median(values) for name, values in rates.items()}
        slowest = min(medians.values(), default=1)
        return medians.get(step.subject.name, slowest) if step.kind == "own" else slowest

    def left(self, steps: list) -> float:
        planned = sum(step.seconds(self.seconds) for step in steps)
        if self.planned_so_far == 0:
            return planned
        return planned * (time.monotonic() - self.begin) / self.planned_so_far

    def has_time_for(self, number: int) -> bool:
        needed = [step for step in self.steps if step.kind != "closed" or step.round == number]
        return time.monotonic() - self.begin + self.left(needed) <= self.budget
