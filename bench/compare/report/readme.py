"""The README's table: what a request costs against the ceiling, from a results file."""

import pathlib
import re

from report.figures import CEILING, US, Figures

FIELD = "cpu_us_per_request"
# The cases that a reader compares first, as far as they were measured.
COLUMNS = (
    ("plaintext@1", "1 connection"), ("plaintext@64", "64"), ("plaintext@512", "512"),
    ("plaintext@4096", "4096"), ("pipelined@64", "64, 16 pipelined"),
)  # fmt: skip
BEGIN = "<!-- From {}, by scripts/compare --readme; do not edit. -->"
END = "<!-- The end of the table. -->"
BLOCK = re.compile(rf"{BEGIN.format('(.*?)')}\n(.*?){END}\n", re.DOTALL)


def table(figures: Figures) -> str:
    """Ratios by subject and case, the least at 64 connections first; each column's least is bold."""
    columns = [(name, title) for name, title in COLUMNS if CEILING in figures.measured(name)]
    ratios = {
        subject: [figures.ratio(subject, CEILING, name, FIELD) for name, _ in columns]
        for subject in figures.subjects
        if subject != CEILING
    }
    ratios = {name: row for name, row in ratios.items() if any(row)}
    medians = {
        name: [round(spread.median, 2) if spread else None for spread in row]
        for name, row in ratios.items()
    }
    names = [name for name, _ in columns]
    key = names.index("plaintext@64") if "plaintext@64" in names else 0
    order = sorted(medians, key=lambda name: (medians[name][key] is None, medians[name][key]))
    least = [
        min((row[column] for row in medians.values() if row[column] is not None), default=None)
        for column in range(len(columns))
    ]
    lines = [
        "| CPU per request, against the bare ring | "
        + " | ".join(title for _, title in columns) + " |",
        "|---|" + "---|" * len(columns),
    ]  # fmt: skip
    for name in order:
        title = figures.title(name)
        cells = [
            "–" if value is None else f"**{value:.2f}**" if value == best else f"{value:.2f}"
            for value, best in zip(medians[name], least)
        ]
        lines.append(f"| {f'**{title}**' if name == US else title} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", facts(figures), ""])


def facts(figures: Figures) -> str:
    results = figures.results
    kernel = re.search(r"\d+\.\d+", results["machine"]["Kernel"])
    return (
        f"Medians of the ratios of {results['rounds']} interleaved rounds "
        f"({results['machine']['CPU']}, Linux {kernel.group() if kernel else 'unknown'}, "
        f"{results['date'].split()[0]}); lower is better."
    )


def update(readme: pathlib.Path, results_path: pathlib.Path, results: dict) -> None:
    """Replaces the table in the file, and names the results that it is from."""
    root = readme.parent.resolve()
    name = results_path.resolve()
    # Only results in the tree can be looked up by a reader.
    if not name.is_relative_to(root):
        raise SystemExit(f"{results_path} is not below {root}: keep the results first.")
    block = f"{BEGIN.format(name.relative_to(root))}\n{table(Figures(results))}{END}\n"
    text, count = BLOCK.subn(lambda _: block, readme.read_text())
    if count != 1:
        raise SystemExit(f"{readme} has {count} tables between the marks, not one.")
    readme.write_text(text)
