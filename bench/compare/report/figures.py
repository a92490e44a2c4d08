"""Medians and spreads of what was measured, by subject and case."""

import dataclasses
import statistics

US = "arena"
# The file server is ours as well: it has the cases that the service has no figures for.
OURS = (US, "corelane-serve")
CEILING = "ceiling"


@dataclasses.dataclass
class Spread:
    """A median with the lowest and highest value of the rounds: low <= median <= high."""

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: list) -> "Spread | None":
        if not values:
            return None
        return cls(statistics.median(values), min(values), max(values), len(values))


class Figures:
    """The results, looked up by what the report asks for."""

    def __init__(self, results: dict):
        self.results = results
        self.subjects = {one["name"]: one for one in results["subjects"]}
        self.cases = {one["name"]: one for one in results["cases"]}
        self.runs = {}
        for run in results["runs"]:
            if "failure" not in run:
                self.runs[run["subject"], run["case"], run["round"]] = run

    def disturbance(self) -> Spread | None:
        """The share of the server's CPU that others took, over all runs."""
        return Spread.of([run["others_cpu_share"] for run in self.runs.values()])

    def title(self, subject: str) -> str:
        return self.subjects[subject]["title"]

    def values(self, subject: str, case: str, field: str) -> dict:
        """The field's value by round."""
        return {
            key[2]: run[field]
            for key, run in self.runs.items()
            if key[:2] == (subject, case) and field in run
        }

    def spread(self, subject: str, case: str, field: str) -> Spread | None:
        return Spread.of(list(self.values(subject, case, field).values()))

    def ratio(self, subject: str, reference: str, case: str, field: str) -> Spread | None:
        """Of the subject to the reference, round by round: what disturbed one disturbed both."""
        over = self.values(subject, case, field)
        under = self.values(reference, case, field)
        return Spread.of([over[n] / under[n] for n in over if under.get(n)])

    def over_all(self, subject: str, field: str) -> Spread | None:
        """Over all cases and rounds."""
        return Spread.of([
            run[field] for key, run in self.runs.items() if key[0] == subject and field in run
        ])  # fmt: skip

    def measured(self, case: str) -> list:
        """The subjects that have figures for the case, in their order."""
        return [name for name in self.subjects if self.values(name, case, "cpu_us_per_request")]

    def ours(self, case: str) -> str | None:
        """Who of ours has figures for the case."""
        measured = self.measured(case)
        return next((name for name in OURS if name in measured), None)

    def by_cost(self) -> list:
        """All subjects, by what a request of the first case costs that most have figures for."""
        case = max(self.cases, key=lambda name: len(self.measured(name)), default="")
        costs = {name: self.spread(name, case, "cpu_us_per_request") for name in self.subjects}
        return sorted(costs, key=lambda name: costs[name].median if costs[name] else float("inf"))

    def curve(self, runs: list) -> list:
        """The median latency over the runs at each percentile that all of them have."""
        curves = [run["percentiles_us"] for run in runs]
        if not curves:
            return []
        shared = set(curves[0]).intersection(*curves[1:])
        points = sorted((float(name), name) for name in shared)
        return [(p, statistics.median(curve[name] for curve in curves)) for p, name in points]

    def closed_curves(self, case: str) -> dict:
        return {
            name: self.curve([run for key, run in self.runs.items() if key[:2] == (name, case)])
            for name in self.measured(case)
        }

    def open_runs(self, kind: str) -> list:
        return [
            run
            for run in self.results.get("open_loop", [])
            if run["kind"] == kind and "failure" not in run
        ]

    def open_curves(self, share: float) -> dict:
        runs = [run for run in self.open_runs("shared") if run["share"] == share]
        names = [name for name in self.subjects if any(run["subject"] == name for run in runs)]
        return {
            name: self.curve([run for run in runs if run["subject"] == name]) for name in names
        }
