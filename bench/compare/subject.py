"""What is compared: the server, the ceiling and the peers, each described by a TOML file."""

import dataclasses
import pathlib
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[2]
PEERS = ROOT / "bench" / "peers"
OWN = ROOT / "bench" / "compare" / "own"

# The order of the report, which is also that of a round.
ORDER = (
    "ceiling", "arena", "corelane-serve", "hyper", "axum", "actix-web", "ntex", "may_minihttp", "monoio",
    "glommio", "xitca-web", "nginx", "h2o", "caddy", "haproxy", "lighttpd", "fastify",
    "fastapi-uvicorn", "fastapi-granian", "sanic", "robyn", "socketify",
)  # fmt: skip
CAPABILITIES = (
    "plaintext", "pipeline", "json", "baseline-get", "baseline-post", "baseline-chunked",
    "items", "upload", "close", "files", "files-gzip",
)  # fmt: skip
# What only some are asked for at all, and why the others are not.
UNASKED = {
    "files": "not set up to serve files",
    "files-gzip": "not set up to compress files",
}


@dataclasses.dataclass
class Subject:
    """One server under test.

    `root` is the function below which everything is done for requests, where there is more.
    """

    name: str
    title: str
    language: str
    settings: str
    folder: pathlib.Path
    build: dict
    start: dict
    version: dict
    answers: list
    missing: dict
    root: str = ""
    versions: dict = dataclasses.field(default_factory=dict)
    startup_seconds: float = 0

    @classmethod
    def read(cls, path: pathlib.Path, name: str) -> "Subject":
        table = tomllib.loads(path.read_text())
        answers = table["endpoints"]["answers"]
        missing = UNASKED | table.get("missing", {})
        missing = {name: why for name, why in missing.items() if name not in answers}
        unexplained = set(CAPABILITIES) - set(answers) - set(missing)
        if unexplained:
            raise SystemExit(f"{path}: no reason given for {', '.join(sorted(unexplained))}")
        return cls(
            name, table["title"], table["language"], table["settings"], path.parent,
            table.get("build", {}), table["start"], table.get("version", {}), answers, missing,
            table.get("instructions", {}).get("root", ""),
        )  # fmt: skip

    def withdraw(self, capability: str, reason: str) -> None:
        """Takes back a claim that turned out wrong; the report says so."""
        self.answers = [answer for answer in self.answers if answer != capability]
        self.missing[capability] = reason


def all_subjects() -> list:
    """Every subject there is a description of, in the order of the report."""
    found = {path.stem: Subject.read(path, path.stem) for path in OWN.glob("*.toml")}
    for path in PEERS.glob("*/peer.toml"):
        found[path.parent.name] = Subject.read(path, path.parent.name)
    last = len(ORDER)
    rank = {name: index for index, name in enumerate(ORDER)}
    return sorted(found.values(), key=lambda one: (rank.get(one.name, last), one.name))
