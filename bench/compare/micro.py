"""Instructions of each case of bench/micro, beside those of the other ways of doing the same."""

import pathlib
import subprocess
import tempfile

import callgrind
from subject import ROOT

COUNT = 2000
SECONDS_MAX = 300


def run(target: pathlib.Path, wanted: str, count: int = COUNT) -> list:
    """Builds the cases and counts those whose name contains `wanted`, in their order."""
    words = ["cargo", "build", "--release", "--locked", "--package", "corelane-micro"]
    subprocess.run(["nice", "-n", "19", *words], cwd=ROOT, check=True)
    binary = target / "release" / "corelane-micro"
    return [
        {"case": name, "instructions": instructions(binary, name, count)}
        for name in names(binary)
        if wanted in name
    ]


def names(binary: pathlib.Path) -> list:
    outcome = subprocess.run([str(binary), "--list"], capture_output=True, text=True, check=True)
    return outcome.stdout.splitlines()


def instructions(binary: pathlib.Path, name: str, count: int) -> float:
    """Of doing it once: what comes before the first time and after the last cancels out."""
    with tempfile.TemporaryDirectory(prefix="micro-") as folder:
        out = pathlib.Path(folder) / "callgrind.out"
        totals = [
            callgrind.run([str(binary), name, str(times)], out, SECONDS_MAX).total
            for times in (count, 2 * count)
        ]
    return round((totals[1] - totals[0]) / count, 1)


def table(results: list) -> str:
    """As docs/performance.md has it: a line for each group, its first case the measure."""
    groups = {}
    for one in results:
        group, _, name = one["case"].rpartition("/")
        groups.setdefault(group, []).append((name, one["instructions"]))
    lines = ["| | Corelane | instead |", "|---|---|---|"]
    for group, ways in groups.items():
        (_, first), *others = ways
        instead = ", ".join(
            f"{name} {count:,.0f} ({count / first:.2f})" for name, count in others
        )
        lines.append(f"| {group} | {first:,.0f} | {instead} |")
    return "\n".join(lines)
