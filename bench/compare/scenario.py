"""Scenarios: what is asked, over how many connections; one TOML file each."""

import dataclasses
import pathlib
import tomllib

from subject import CAPABILITIES, ROOT

# To open more of them takes a good part of a second, in which little else is done.
CONNECTIONS_PER_SECOND = 2048
FOLDER = ROOT / "bench" / "scenarios"


@dataclasses.dataclass
class Request:
    """One request of a rotation."""

    target: str
    method: str = "GET"
    content_type: str = ""
    accept_encoding: str = ""
    body: str = ""
    body_bytes: int = 0


@dataclasses.dataclass
class Case:
    """A scenario with one number of connections: what a single run does."""

    scenario: str
    title: str
    about: str
    needs: list
    connections: int
    pipeline: int
    requests_per_connection: int
    slow_peers: int
    requests: list
    seconds_min: int = 0

    def seconds(self, wanted: int) -> int:
        """How long a run lasts: longer where so many connections or such bodies need it."""
        return max(wanted, self.seconds_min, self.connections // CONNECTIONS_PER_SECOND)

    @property
    def name(self) -> str:
        return f"{self.scenario}@{self.connections}"

    @property
    def label(self) -> str:
        unit = "connection" if self.connections == 1 else "connections"
        return f"{self.title}, {self.connections} {unit}"


def cases(names: list, is_quick: bool) -> list:
    """The cases of the named scenarios, or of all."""
    paths = {path.stem: path for path in sorted(FOLDER.glob("*.toml"))}
    unknown = set(names) - set(paths)
    if unknown:
        known = ", ".join(paths)
        raise SystemExit(f"No scenario {', '.join(sorted(unknown))}; there are {known}.")
    return [case for name in names or paths for case in read(paths[name], is_quick, bool(names))]


def read(path: pathlib.Path, is_quick: bool, is_named: bool) -> list:
    table = tomllib.loads(path.read_text())
    unknown = set(table["needs"]) - set(CAPABILITIES)
    if unknown:
        raise SystemExit(f"{path}: nothing is called {', '.join(unknown)}")
    counts = table["connections"]
    if is_quick:
        # Whoever names a scenario wants it, quick or not.
        counts = table.get("quick_connections", counts[:1] if is_named else [])
    requests = [Request(**request) for request in table["request"]]
    return [
        Case(
            path.stem, table["title"], table["about"], table["needs"], count,
            table.get("pipeline", 1), table.get("requests_per_connection", 0),
            table.get("slow_peers", 0), requests, table.get("seconds_min", 0),
        )
        for count in counts
    ]  # fmt: skip
