"""The results file: written after each group of runs, so that a stopped run has lost nothing."""

import json
import os
import pathlib
import re
import tempfile

from subject import ROOT

# What could tell where, and by whom, the comparison was made.
URL = re.compile(r"https?://(?!127\.0\.0\.1|localhost)[^\s'\"`)]+")
# A path begins with a folder that this machine has; `/json/5` is a request's target.
TOP = "|".join(re.escape(path.name) for path in pathlib.Path("/").iterdir() if path.is_dir())
FOLDERS = re.compile(rf"(?<![\w.~/-])/(?:{TOP})/(?:[\w.+~-]+/)*(?=[\w.+~-])")


def public(value, target: pathlib.Path):
    """The same value without a path or an address of this machine in any of its texts."""
    if isinstance(value, dict):
        return {key: public(one, target) for key, one in value.items()}
    if isinstance(value, list):
        return [public(one, target) for one in value]
    if not isinstance(value, str):
        return value
    # A tree may hold the target folder or the other way round: the longer path first.
    known = sorted(((str(target), "target"), (str(ROOT), ".")), key=lambda pair: -len(pair[0]))
    for path, name in [*known, (str(pathlib.Path.home()), "~")]:
        value = re.sub(re.escape(path) + r"(?=/|\b|$)", name, value)
    return FOLDERS.sub("…/", URL.sub("(an address)", value))


class Results:
    """What was measured so far, and the file that it is kept in."""

    def __init__(self, folder: pathlib.Path, target: pathlib.Path):
        self.path = folder / "results.json"
        self.target = target
        # Why, by the title of each subject that is left out.
        self.skipped = {}
        self.table = {"format": 1, "runs": [], "open_loop": [], "idle": {}}

    def resume(self) -> None:
        """Takes up what a stopped run has left; nothing is there of one that never began."""
        if self.path.exists():
            self.table = json.loads(self.path.read_text())

    def describe(self, **facts) -> None:
        """What is known beside the measurements, in the order of the file."""
        measured = {key: self.table[key] for key in ("runs", "open_loop", "idle")}
        self.table = {"format": 1, **facts, **measured}

    def done(self) -> set:
        """The keys of the steps that need not be run again."""
        runs = {
            ("closed", one["subject"], one["case"], one["round"], 0) for one in self.table["runs"]
        }
        opened = {
            (one["kind"], one["subject"], one["case"], one["round"], one["share"])
            for one in self.table["open_loop"]
        }
        return runs | opened | {("idle", name, "", 1, 0) for name in self.table["idle"]}

    def add(self, step, record: dict) -> None:
        if step.kind == "idle":
            self.table["idle"][step.subject.name] = record
        elif step.kind == "closed":
            self.table["runs"].append(record | {"round": step.round})
        else:
            more = {"round": step.round, "kind": step.kind, "share": step.share}
            self.table["open_loop"].append(record | more)

    def save(self) -> None:
        """Replaces the file: whoever reads it meanwhile has the one from before, whole."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.table["rounds"] = max((one["round"] for one in self.table["runs"]), default=0)
        text = json.dumps(public(self.table, self.target), indent=1) + "\n"
        with tempfile.NamedTemporaryFile("w", dir=self.path.parent, delete=False) as file:
            file.write(text)
        # A temporary file is its maker's alone to read; a result is for all.
        os.chmod(file.name, 0o644)
        os.replace(file.name, self.path)
