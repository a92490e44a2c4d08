"""Elements as text; everything that is not markup is escaped on the way in."""

import html


class Markup(str):
    """Text that is markup already."""


def escape(value) -> str:
    return value if isinstance(value, Markup) else html.escape(str(value))


def element(name: str, *content, **attributes) -> Markup:
    """`class_` and `stroke_width` become `class` and `stroke-width`."""
    words = "".join(
        f' {key.strip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{words}>{''.join(escape(part) for part in content)}</{name}>")


def join(parts) -> Markup:
    return Markup("".join(escape(part) for part in parts))


def table(head: list, rows: list, caption: str, is_numeric: bool = True) -> Markup:
    """The first cell of a row is its heading. It scrolls by itself where the page is narrow."""
    top = element("tr", *[element("th", cell, scope="col") for cell in head])
    body = [
        element("tr", element("th", row[0], scope="row"), *[data_cell(cell) for cell in row[1:]])
        for row in rows
    ]
    inner = element(
        "table", element("thead", top), element("tbody", *body), aria_label=caption,
        class_="numeric" if is_numeric else None,
    )  # fmt: skip
    # A caption element would scroll away with its table. What scrolls must take the focus, or the
    # keyboard could not reach its end.
    scroll = element("div", inner, class_="scroll", tabindex="0", role="region", aria_label=caption)
    return join([element("p", caption, class_="caption", aria_hidden="true"), scroll])


def data_cell(cell) -> Markup:
    """A cell is its content, or content and class."""
    content, kind = cell if isinstance(cell, tuple) else (cell, None)
    return element("td", content, class_=kind)


def number(value: float) -> str:
    """Three digits that matter."""
    if value >= 100:
        return f"{value:,.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def duration(us: float) -> str:
    """Microseconds in the unit that reads best."""
    if us >= 1_000_000:
        return f"{us / 1_000_000:g} s"
    return f"{us / 1000:g} ms" if us >= 1000 else f"{us:g} µs"
