"""Colours and the style sheet."""

import pathlib

from report.figures import CEILING, OURS

COLOURS = 8
REST = "rest"


def series(names) -> dict:
    """The class and the dashes of each line.

    The server is the thick one, the ceiling the dashed grey one, whoever else is there. More
    colours than these nobody can tell apart: the peers behind the first eight share a pale one.
    """
    styles, others = {}, 0
    for name in names:
        if name in OURS:
            styles[name] = ("us", None)
        elif name == CEILING:
            styles[name] = ("ceiling", "8 3 2 3")
        else:
            styles[name] = (f"c{others}" if others < COLOURS else REST, None)
            others += 1
    return styles


def sheet() -> str:
    return pathlib.Path(__file__).with_name("style.css").read_text()
