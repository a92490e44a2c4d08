"""Colours and the style sheet."""

import pathlib

from report.figures import CEILING, US

COLOURS = 8
DASHES = (None, "6 3", "2 3")


def series(names) -> dict:
    """The class and the dashes of each line: colour alone would tell too few apart.

    The server is the thick one, the ceiling the grey one, whoever else is there.
    """
    styles, others = {}, 0
    for name in names:
        if name == US:
            styles[name] = ("us", None)
        elif name == CEILING:
            styles[name] = ("ceiling", "8 3 2 3")
        else:
            styles[name] = (f"c{others % COLOURS}", DASHES[others // COLOURS % len(DASHES)])
            others += 1
    return styles


def sheet() -> str:
    return pathlib.Path(__file__).with_name("style.css").read_text()
