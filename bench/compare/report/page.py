"""The page: its sections in their order."""

import pathlib

from report import bars, latency, ratios, tables
from report.figures import Figures
from report.markup import Markup, element, join
from report.style import sheet

METHOD = (
    "One server at a time on one CPU, the load on another, over loopback. In every round each "
    "server is started anew, warmed up and loaded, in turn, so that what disturbs the machine "
    "meets all of them; figures are medians over the rounds with the lowest and the highest. CPU "
    "time is user and system time of all the server's processes, as the scheduler counts it."
)

# From this share on, what others take of the server's CPU is worth a warning.
DISTURBED = 0.05


def write(results: dict, path: pathlib.Path) -> None:
    """Writes the report of these results."""
    path.write_text(page(Figures(results)))


def page(figures: Figures) -> str:
    parts = sections(figures)
    links = [element("li", element("a", title, href=f"#{name}")) for name, title, _ in parts]
    body = [element("section", element("h2", title), text, id=name) for name, title, text in parts]
    head = element(
        "head",
        Markup('<meta charset="utf-8">'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        element("title", "Corelane and its peers"),
        element("style", Markup(sheet())),
    )
    top = element("header", element("h1", "Corelane and its peers"), intro(figures))
    menu = element("nav", element("ul", *links), aria_label="Sections")
    inner = element("body", top, menu, element("main", *body))
    return f"<!doctype html>\n{element('html', head, inner, lang='en')}\n"


def intro(figures: Figures) -> Markup:
    results = figures.results
    rounds = "round" if results["rounds"] == 1 else "rounds"
    facts = (
        f"{results['date']}; {results['rounds']} {rounds} of {results['seconds']} s a run, "
        f"{len(figures.subjects)} servers; {results['machine']['CPU']}, "
        f"{results['machine']['Kernel']}. "
    )
    again = element("code", results["command"])
    return join([element("p", facts, "Again: ", again, class_="soft"), warning(figures)])


def warning(figures: Figures) -> Markup:
    """Says so where the machine was not the comparison's alone."""
    others = figures.disturbance()
    if others is None or others.median < DISTURBED:
        return Markup("")
    words = (
        f"Others took {others.median:.0%} of the server's CPU in the median run. Ratios of CPU per "
        "request are paired and bear that; throughputs and latencies do not: make them again on a "
        "machine that is idle."
    )
    return element("p", element("strong", "A disturbed machine. "), words, class_="warning")


def sections(figures: Figures) -> list:
    cpu = [
        bars.figure(figures, case, "cpu_us_per_request", "CPU microseconds per request")
        for case in figures.cases.values()
        if figures.measured(case["name"])
    ]
    return [
        ("summary", "What it wins and loses", verdict(figures)),
        ("peers", "Against every peer", ratios.against_peers(figures)),
        ("ceiling", "Against the ceiling", ratios.against_ceiling(figures)),
        ("cpu", "CPU per request", join(cpu)),
        ("throughput", "Throughput", throughput(figures)),
        ("open-loop", "Latency under a given load", latency.opened(figures)),
        ("closed-loop", "Latency in a closed loop", latency.closed(figures)),
        ("memory", "Memory and start-up", tables.memory(figures)),
        ("left-out", "Left out", join([tables.skipped(figures), tables.errors(figures)])),
        ("machine", "Machine", tables.machine(figures)),
        ("commands", "Versions and commands", commands(figures)),
    ]


def verdict(figures: Figures) -> Markup:
    return join([element("p", METHOD), ratios.summary(figures)])


def throughput(figures: Figures) -> Markup:
    return join([
        latency.sweep(figures), tables.throughput(figures), tables.bound(figures),
    ])  # fmt: skip


def commands(figures: Figures) -> Markup:
    loads = [
        element(
            "details",
            element("summary", case["label"]),
            element("pre", case["load_command"] + "\n\n-- load.lua\n" + case["load_script"]),
        )
        for case in figures.cases.values()
    ]
    return join([tables.subjects(figures), element("h3", "The load"), *loads])
