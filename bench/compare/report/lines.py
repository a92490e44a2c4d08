"""Line charts: one drawing for wide pages and one for narrow ones, where text stays readable."""

import math

from report.markup import Markup, element, join
from report.style import REST, series

SIZES = (("wide", 960, 400), ("narrow", 360, 340))
DECADES_MANY = 10.0**3
LEFT, RIGHT, TOP, BOTTOM = 62, 24, 12, 44


class Axis:
    """Maps values to a span of pixels and knows its ticks."""

    def __init__(self, ticks: list, transform=lambda value: value):
        self.ticks = ticks
        self.transform = transform
        self.low = transform(ticks[0][0])
        self.high = transform(ticks[-1][0])

    def place(self, value: float, start: float, end: float) -> float:
        span = self.high - self.low or 1
        share = (self.transform(value) - self.low) / span
        return start + min(1.0, max(0.0, share)) * (end - start)


def nines(percentile: float) -> float:
    """The axis of a latency curve: each further nine takes as much room as the one before."""
    return -math.log10(max(1e-5, 1 - min(percentile, 99.999) / 100))


def percentile_axis(curves: dict) -> Axis:
    known = [p for curve in curves.values() for p, _ in curve]
    marks = [p for p in (0, 50, 90, 99, 99.9, 99.99) if min(known) <= p <= max(known)]
    return Axis([(p, f"{p:g}") for p in marks], nines)


def log_axis(low: float, high: float, label) -> Axis:
    """Ticks at 1, 2 and 5 of each decade, from below the lowest to above the highest; where there
    are many decades, at each one's start."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if high / low < DECADES_MANY else (1,)
    steps = [factor * 10.0**power for power in powers for factor in factors]
    first = max(step for step in steps if step <= low)
    last = min([step for step in steps if step >= high] or [high])
    return Axis([(step, label(step)) for step in steps if first <= step <= last], math.log10)


def chart(
    lines: dict, titles: dict, x: Axis, y: Axis, x_title: str, y_title: str, label: str
) -> Markup:
    """The drawings and their legend; `lines` has points by subject.

    Where both axes are one, the diagonal is drawn: there the two quantities are equal.
    """
    styles = series(titles)
    drawings = [drawing(lines, styles, x, y, (x_title, y_title), label, size) for size in SIZES]
    named = [name for name in titles if name in lines and styles[name][0] != REST]
    legend = [element("li", swatch(*styles[name]), titles[name]) for name in named]
    if rest := [titles[name] for name in titles if name in lines and name not in named]:
        legend.append(element("li", swatch(REST, None), f"others: {', '.join(rest)}"))
    return element("div", *drawings, element("ul", *legend, class_="legend"), class_="chart")


def drawing(lines, styles, x: Axis, y: Axis, axis_titles: tuple, label: str, size) -> Markup:
    kind, width, height = size
    right, bottom = width - RIGHT, height - BOTTOM
    parts = grid(x, y, right, bottom, is_narrow=kind == "narrow")
    parts.append(text((LEFT + right) / 2, height - 6, axis_titles[0], "middle"))
    middle = (TOP + bottom) / 2
    turned = f"translate(13 {middle}) rotate(-90)"
    parts.append(element("text", axis_titles[1], text_anchor="middle", transform=turned))
    if x is y:
        ends = {"x1": LEFT, "y1": bottom, "x2": right, "y2": TOP}
        parts.append(element("line", **ends, class_="axis", stroke_dasharray="1 4"))
    # The server last, on top of all; the pale ones below all.
    depth = {REST: 0, "us": 2}
    for name in sorted(lines, key=lambda name: depth.get(styles[name][0], 1)):
        points = " ".join(
            f"{x.place(a, LEFT, right):.1f},{y.place(b, bottom, TOP):.1f}" for a, b in lines[name]
        )
        colour, dash = styles[name]
        parts.append(element("polyline", points=points, class_=colour, stroke_dasharray=dash))
    return element(
        "svg", *parts, viewBox=f"0 0 {width} {height}", class_=kind, role="img", aria_label=label
    )


def grid(x: Axis, y: Axis, right: float, bottom: float, is_narrow: bool) -> list:
    parts = []
    step = 2 if is_narrow and len(x.ticks) > 6 else 1
    for index, (value, label) in enumerate(x.ticks):
        at = round(x.place(value, LEFT, right), 1)
        parts.append(element("line", x1=at, x2=at, y1=TOP, y2=bottom, class_="grid"))
        if index % step == 0:
            parts.append(text(at, bottom + 16, label, "middle"))
    step = math.ceil(len(y.ticks) / 10)
    for index, (value, label) in enumerate(y.ticks):
        at = round(y.place(value, bottom, TOP), 1)
        parts.append(element("line", x1=LEFT, x2=right, y1=at, y2=at, class_="grid"))
        if index % step == 0:
            parts.append(text(LEFT - 6, at + 4, label, "end"))
    return parts


def text(x: float, y: float, content: str, anchor: str) -> Markup:
    return element("text", content, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor)


def swatch(colour: str, dash: str | None) -> Markup:
    line = element("path", d="M0 4H32", class_=colour, stroke_dasharray=dash)
    return element("svg", line, viewBox="0 0 32 8", aria_hidden="true")


def figure(title: str, about: str, *content) -> Markup:
    caption = element("figcaption", element("strong", title), about)
    return element("figure", caption, join(content))
