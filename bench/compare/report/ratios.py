"""Ratios: what the server costs against the ceiling and against every peer."""

from report.figures import CEILING, OURS, Figures
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
    names = [
        name
        for case in cases
        for name in figures.measured(case["name"])
        if name != CEILING
    ]
    rows = [
        [
            figures.title(name),
            *[cell(figures.ratio(name, CEILING, case["name"], FIELD), False) for case in cases],
        ]
        for name in dict.fromkeys(names)
    ]
    head = ["Server", *[case["label"] for case in cases]]
    caption = (
        "CPU time per request divided by the ceiling's in the same round: the median, and the "
        "lowest and highest round. 1.00 would be the bare ring."
    )
    return table(head, rows, caption)


def against_peers(figures: Figures) -> Markup:
    if not any(name in figures.subjects for name in OURS):
        return element("p", "Corelane was not among the subjects of this run.")
    cases = [
        (case, ours) for case in figures.cases.values() if (ours := figures.ours(case["name"]))
    ]
    names = [name for name in figures.subjects if name not in (*OURS, CEILING)]
    rows = [
        [
            figures.title(name),
            *[cell(figures.ratio(ours, name, case["name"], FIELD), True) for case, ours in cases],
        ]
        for name in names
    ]
    head = ["Against", *[case["label"] for case, _ in cases]]
    caption = (
        "Corelane's CPU time per request divided by the peer's in the same round. Below 1 Corelane "
        "takes less (green), above 1 more (red); uncoloured where the rounds do not agree."
    )
    return table(head, rows, caption)


def summary(figures: Figures) -> Markup:
    """A card for each case: how many it beats, who beats it, and who is level."""
    if not any(name in figures.subjects for name in OURS):
        return element("p", "Without Corelane among the subjects there is nothing to win or lose.")
    cards = [card(figures, case) for case in figures.cases.values()]
    return element("div", *[one for one in cards if one], class_="verdict")


def card(figures: Figures, case: dict) -> Markup | None:
    found = {"good": [], None: [], "bad": []}
    for name in figures.measured(case["name"]):
        ratio = figures.ratio(figures.ours(case["name"]), name, case["name"], FIELD)
        if ratio and name not in (*OURS, CEILING):
            found[verdict(ratio)].append((ratio.median, figures.title(name)))
    if not any(found.values()):
        return None
    # Of those that it beats the nearest says most; those that beat it are all named.
    wins, level, losses = (sorted(found[kind], reverse=True) for kind in ("good", None, "bad"))
    lines = [
        element("li", f"less CPU than {len(wins)}", nearest(wins), class_="good"),
        element("li", f"level with {len(level)}", named(level)),
        element("li", f"more CPU than {len(losses)}", named(losses), class_="bad"),
    ]
    kept = [line for line, peers in zip(lines, (wins, level, losses)) if peers]
    heading = element("h3", case["label"])
    return element("section", heading, strip(wins, level, losses), element("ul", *kept))


def nearest(peers: list) -> str:
    return f"; nearest: {peers[0][1]} {peers[0][0]:.2f}" if peers else ""


def named(peers: list) -> str:
    return ": " + ", ".join(f"{title} {ratio:.2f}" for ratio, title in peers)


def strip(wins: list, level: list, losses: list) -> Markup:
    """A square for each peer; the words below say the same."""
    kinds = ["good"] * len(wins) + ["even"] * len(level) + ["bad"] * len(losses)
    squares = [element("i", class_=kind) for kind in kinds]
    return element("div", *squares, class_="strip", aria_hidden="true")
