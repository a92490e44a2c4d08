"""Builds a subject and says which versions it has."""

import hashlib
import os
import pathlib
import re
import subprocess
import sys
import tomllib
import json

from place import Place, fill
from subject import PEERS, ROOT, Subject

BUILD_SECONDS_MAX = 3600


class BuildError(Exception):
    """Why a subject could not be built, in one line."""


def build(subject: Subject, place: Place) -> None:
    """Installs and builds what the subject needs and notes its versions."""
    values = place.values(subject.name)
    if debian := subject.build.get("debian"):
        run([str(ROOT / "scripts" / "install-missing"), *debian])
    if requirements := subject.build.get("python"):
        environment(subject.folder / requirements, place.build_folder(subject.name))
    if command := subject.build.get("command"):
        # The Rust peers are a workspace of their own, which would have a target folder of its own.
        run([fill(word, values) for word in command], {"CARGO_TARGET_DIR": str(place.target)})
    subject.versions = versions(subject, place)


def environment(requirements: pathlib.Path, folder: pathlib.Path) -> None:
    """A virtual environment with exactly these packages, made once for each list."""
    mark = folder / "requirements.sha256"
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()
    if mark.exists() and mark.read_text() == digest:
        return
    python = folder / "venv" / "bin" / "python"
    run([sys.executable, "-m", "venv", "--clear", str(folder / "venv")])
    run([str(python), "-m", "pip", "install", "--quiet", "--requirement", str(requirements)])
    mark.write_text(digest)


def run(command: list, variables: dict | None = None) -> None:
    try:
        # Builds yield to whatever else the machine is doing.
        outcome = subprocess.run(
            ["nice", "-n", "19", *command], capture_output=True, text=True, cwd=ROOT,
            stdin=subprocess.DEVNULL, timeout=BUILD_SECONDS_MAX, env=os.environ | (variables or {}),
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"{command[0]}: {error}") from error
    if outcome.returncode != 0:
        lines = [line for line in outcome.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.lower().startswith("error")] or lines[-1:]
        raise BuildError(f"{' '.join(command[:3])}: {' '.join(errors[:1]) or 'failed'}")


def versions(subject: Subject, place: Place) -> dict:
    """The versions by package."""
    table, found = subject.version, {}
    lock_path = ROOT / table.get("lock", "bench/peers/Cargo.lock")
    if crates := table.get("crates"):
        lock = tomllib.loads(lock_path.read_text())
        for crate in crates:
            matches = [one["version"] for one in lock["package"] if one["name"] == crate]
            found[crate] = ", ".join(matches) or "unknown"
    for name in table.get("distributions", []):
        found[name] = distribution(place.build_folder(subject.name) / "venv", name)
    for name in table.get("npm", []):
        package = PEERS / subject.name / "node_modules" / name / "package.json"
        found[name] = json.loads(package.read_text())["version"]
    if command := table.get("command"):
        words = [fill(word, place.values(subject.name)) for word in command]
        outcome = subprocess.run(words, capture_output=True, text=True)
        first = (outcome.stdout + outcome.stderr).strip().splitlines()[:1]
        match = re.search(r"\d+(\.\d+)+\S*", first[0]) if first else None
        found[command[0]] = match.group() if match else "unknown"
    return found


def distribution(venv: pathlib.Path, name: str) -> str:
    for path in venv.glob(f"lib/python*/site-packages/{name.replace('-', '_')}-*.dist-info"):
        return path.name.removesuffix(".dist-info").rpartition("-")[2]
    return "unknown"
