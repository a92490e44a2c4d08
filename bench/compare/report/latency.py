"""Latency by percentile, and throughput by offered load."""

import statistics

from report import lines
from report.figures import Figures
from report.markup import Markup, duration, element, join, number, table

KEEPS_UP = 0.98
TABLE_PERCENTILES = (50, 90, 99, 99.9, 99.99)


def titles(figures: Figures) -> dict:
    """All titles, those first that come nearest to the server in what a request costs."""
    return {name: figures.title(name) for name in figures.by_cost()}


def curves(figures: Figures, curves: dict, title: str, about: str) -> Markup:
    drawn = {
        name: [(p, us) for p, us in curve if p < 100 and us > 0] for name, curve in curves.items()
    }
    drawn = {name: points for name, points in drawn.items() if points}
    if not drawn:
        return Markup("")
    values = [us for points in drawn.values() for _, us in points]
    chart = lines.chart(
        drawn, titles(figures), lines.percentile_axis(drawn),
        lines.log_axis(min(values), max(values), duration), "percentile of requests",
        "latency (log scale)", f"{title}: latency by percentile for each server; table below",
    )  # fmt: skip
    return join([lines.figure(title, about, chart), details(figures, curves, title)])


def details(figures: Figures, curves: dict, title: str) -> Markup:
    rows = []
    for name, curve in curves.items():
        known = dict(curve)
        cells = [number(known[p]) if p in known else ("–", "none") for p in TABLE_PERCENTILES]
        rows.append([figures.title(name), *cells])
    head = ["Server", *[f"p{p:g}" for p in TABLE_PERCENTILES]]
    inner = table(head, rows, f"{title}: microseconds, medians of the rounds")
    return element("details", element("summary", f"{title}: the numbers"), inner)


def closed(figures: Figures) -> Markup:
    parts = []
    for case in figures.cases.values():
        if case["scenario"] == "plaintext":
            about = (
                "Closed loop: each connection asks again once it has its answer, so a slow server "
                "is asked less and its waits are not counted in full."
            )
            parts.append(curves(figures, figures.closed_curves(case["name"]), case["label"], about))
    return join(parts)


def opened(figures: Figures) -> Markup:
    runs = figures.open_runs("shared")
    if not runs:
        why = figures.results.get("open_loop_missing") or "plaintext@64 was not among the cases"
        return element("p", f"Open loop was not measured: {why}.")
    parts = []
    for share in sorted({run["share"] for run in runs}):
        rate = statistics.median(run["rate"] for run in runs if run["share"] == share)
        title = f"Plaintext, open loop, {rate:,.0f} requests a second"
        about = (
            f"{share:.0%} of what the slowest of these servers can do; latency counts from the "
            "moment a request was due, so a server that stalls can not hide it."
        )
        parts.append(curves(figures, figures.open_curves(share), title, about))
    return join(parts)


def sweep(figures: Figures) -> Markup:
    runs = figures.open_runs("own")
    if not runs:
        return Markup("")
    points = {}
    for name in figures.subjects:
        mine = [run for run in runs if run["subject"] == name]
        shares = sorted({run["share"] for run in mine})
        if shares:
            points[name] = [at_share([run for run in mine if run["share"] == s]) for s in shares]
    values = [value for line in points.values() for pair in line for value in pair]

    def label(value: float) -> str:
        return f"{value / 1000:g}k"

    axis = lines.log_axis(min(values), max(values), label)
    title = "Throughput by offered load"
    chart = lines.chart(
        points, titles(figures), axis, axis, "offered, requests a second",
        "answered, requests a second", title,
    )  # fmt: skip
    about = "On the diagonal a server keeps up; where its line bends away is its knee."
    return join([lines.figure(title, about, chart), knees(figures, points)])


def knees(figures: Figures, points: dict) -> Markup:
    """The highest offered rate at which so many of the requests were answered in time."""
    rows = []
    for name, line in points.items():
        kept = [offered for offered, answered in line if answered >= KEEPS_UP * offered]
        cell = f"{max(kept):,.0f}" if kept else ("below the lowest offered", "none")
        rows.append([figures.title(name), cell, f"{max(answered for _, answered in line):,.0f}"])
    head = ["Server", f"Keeps up ({KEEPS_UP:.0%}) to", "Answers at most"]
    return table(head, rows, "Requests a second, of the rates that were offered.")


def at_share(runs: list) -> tuple:
    offered = statistics.median(run["rate"] for run in runs)
    return (offered, statistics.median(run["requests_per_second"] for run in runs))
