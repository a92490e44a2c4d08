"""Ratios: what the server costs against the ceiling and against every peer."""

from report.figures import CEILING, US, Figures
from report.markup import Markup, element, table

FIELD = "cpu_us_per_request"
# Closer to one than this is no difference that these runs can show.
EVEN = 0.02


def cell(spread, is_judged: bool) -> tuple:
    if spread is None:
        return ("–", "none")
    text = Markup(
        f"{spread.median:.2f} <small>({spread.low:.2f}–{spread.high:.2f})</small>"
    )
    return (text, verdict(spread) if is_judged else None)


def verdict(spread) -> str | None:
    """Better or worse only where all rounds are on one side."""
    if spread.high < 1 and spread.median < 1 - EVEN:
        return "good"
    return "bad" if spread.low > 1 and spread.median > 1 + EVEN else None


def against_ceiling(figures: Figures) -> Markup:
    cases = [case for case in figures.cases.values() if CEILING in figures.measured(case["name"])]
    names = [name for name in figures.subjects if name != CEILING]
    rows = [
        [
            figures.title(name),
            *[cell(figures.ratio(name, CEILING, case["name"], FIELD), False) for case in cases],
        ]
        for name in names
    ]
    head = ["Server", *[case["label"] for case in cases]]
    caption = (
        "CPU time per request divided by the ceiling's in the same round: the median, and the "
        "lowest and highest round. 1.00 would be the bare ring."
    )
    return table(head, rows, caption)


def against_peers(figures: Figures) -> Markup:
    if US not in figures.subjects:
        return element("p", "Corelane was not among the subjects of this run.")
    cases = [case for case in figures.cases.values() if US in figures.measured(case["name"])]
    names = [name for name in figures.subjects if name not in (US, CEILING)]
    rows = [
        [
            figures.title(name),
            *[cell(figures.ratio(US, name, case["name"], FIELD), True) for case in cases],
        ]
        for name in names
    ]
    head = ["Against", *[case["label"] for case in cases]]
    caption = (
        "Corelane's CPU time per request divided by the peer's in the same round. Below 1 Corelane "
        "takes less (green), above 1 more (red); uncoloured where the rounds do not agree."
    )
    return table(head, rows, caption)


def summary(figures: Figures) -> Markup:
    """Wins, losses and what is open, in words and side by side."""
    if US not in figures.subjects:
        return element("p", "Without Corelane among the subjects there is nothing to win or lose.")
    lists = {"good": [], "bad": [], None: []}
    for case in figures.cases.values():
        found = {"good": [], "bad": [], None: []}
        for name in figures.measured(case["name"]):
            if name in (US, CEILING):
                continue
            ratio = figures.ratio(US, name, case["name"], FIELD)
            if ratio:
                found[verdict(ratio)].append(f"{figures.title(name)} {ratio.median:.2f}")
        for kind, peers in found.items():
            if peers:
                words = f": {', '.join(peers)}"
                lists[kind].append(element("li", element("strong", case["label"]), words))
    titles = {"good": "Takes less CPU than", "bad": "Takes more CPU than", None: "Not decided"}
    sections = [
        element(
            "section", element("h3", titles[kind]),
            element("ul", *(lists[kind] or [element("li", "none")])),
        )
        for kind in ("good", "bad", None)
    ]  # fmt: skip
    return element("div", *sections, class_="verdict")
