"""Bars of medians with the spread of the rounds across them."""

from report.figures import CEILING, OURS, Figures
from report.markup import Markup, element, number


def figure(figures: Figures, case: dict, field: str, unit: str) -> Markup:
    """One bar for each subject that has figures, the smallest first."""
    spreads = {
        name: figures.spread(name, case["name"], field) for name in figures.measured(case["name"])
    }
    names = sorted(spreads, key=lambda name: spreads[name].median)
    # One slow subject must not make slivers of all others: what is cut off says so.
    medians = sorted(spread.median for spread in spreads.values())
    full = min(max(s.high for s in spreads.values()), 4 * medians[len(medians) // 2])
    rows = [row(figures.title(name), name, spreads[name], full) for name in names]
    words = f"{case['about']} {unit}; less is better."
    if spreads[names[-1]].median > full:
        words += " A bar with an arrow is cut off."
    caption = element("figcaption", element("strong", case["label"]), words)
    return element("figure", caption, element("ul", *rows, class_="bars"))


def row(title: str, name: str, spread, full: float) -> Markup:
    kind = name if name == CEILING else "us" if name in OURS else "peer"
    width = min(100.0, 100 * spread.median / full)
    parts = [element("rect", x=0, y=2, width=f"{width:.2f}", height=12, class_=kind)]
    if spread.high <= full:
        low, high = 100 * spread.low / full, 100 * spread.high / full
        for x1, x2, y1, y2 in ((low, high, 8, 8), (low, low, 4, 12), (high, high, 4, 12)):
            parts.append(
                element("line", x1=f"{x1:.2f}", x2=f"{x2:.2f}", y1=y1, y2=y2, class_="whisker")
            )
    said = f"{number(spread.median)} ({number(spread.low)}–{number(spread.high)})"
    cut = " →" if spread.median > full else ""
    # The numbers stand beside it, so a reader of the page aloud loses nothing with the picture.
    picture = element(
        "svg", *parts, viewBox="0 0 100 16", preserveAspectRatio="none", aria_hidden="true"
    )
    value = element("span", said + cut, class_="value")
    label = element("span", title, class_="name")
    return element("li", label, picture, value, class_="bar is-us" if name in OURS else "bar")
