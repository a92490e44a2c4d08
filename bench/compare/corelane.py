"""Load by `corelane-bench load`: closed loop and open loop, one shard."""

import json
import pathlib
import subprocess

from place import target_folder
from scenario import Case
from subject import ROOT

NAME = "corelane-bench"
IS_OPEN_LOOP = True
OPEN_LOOP_WARMUP = "500ms"


def binary() -> pathlib.Path:
    return target_folder() / "release" / "corelane-bench"


def is_there() -> bool:
    """Builds it where its source is there; not to have it is no error."""
    if (ROOT / "bench" / "load" / "Cargo.toml").exists():
        words = ["cargo", "build", "--release", "--locked", "--package", "corelane-bench"]
        subprocess.run(["nice", "-n", "19", *words], cwd=ROOT, capture_output=True)
    return binary().exists()


def version() -> str:
    outcome = subprocess.run([str(binary()), "--version"], capture_output=True, text=True)
    return outcome.stdout.strip()


def command(case: Case, url: str, seconds: float, cpu: int, folder: pathlib.Path, rate) -> list:
    """The exact command; writes a large body beside."""
    words = [
        "taskset", "--cpu-list", str(cpu), str(binary()), "load", url, "--cores", "1", "--quiet",
        "--connections", str(case.connections), "--pipeline", str(case.pipeline),
        "--duration", f"{seconds}s", "--json", str(folder / "load.json"),
    ]  # fmt: skip
    # In a closed loop the server's time is counted from the start of the program to its end.
    words += ["--rate", f"{rate:.0f}", "--warmup", OPEN_LOOP_WARMUP] if rate else ["--warmup", "0s"]
    if case.requests_per_connection:
        words += ["--requests-per-connection", str(case.requests_per_connection)]
    return words + requests(case, folder)


def requests(case: Case, folder: pathlib.Path) -> list:
    kinds = {one.content_type for one in case.requests if one.content_type}
    # A field of one request is a field of all: a GET's Content-Type does no harm.
    words = [word for kind in kinds for word in ("--header", f"Content-Type: {kind}")]
    codings = {one.accept_encoding for one in case.requests if one.accept_encoding}
    words += [word for one in codings for word in ("--header", f"Accept-Encoding: {one}")]
    first = case.requests[0]
    if first.body_bytes:
        path = folder / "body"
        path.write_bytes(b"x" * first.body_bytes)
        return [*words, "--method", first.method, "--body-file", str(path)]
    for one in case.requests:
        words += ["--request", f"{one.method} {one.target} {one.body}".strip()]
    return words


def run(case: Case, url: str, seconds: float, cpu: int, folder: pathlib.Path, rate=None) -> dict:
    """The result of one run; a `ValueError` says what went wrong."""
    words = command(case, url, seconds, cpu, folder, rate)
    outcome = subprocess.run(words, capture_output=True, text=True, timeout=seconds + 60)
    path = folder / "load.json"
    if outcome.returncode != 0 or not path.exists():
        raise ValueError((outcome.stderr.strip() or "it said nothing")[-200:])
    run = json.loads(path.read_text())["runs"][-1]
    latency = run["latency_ns"]["corrected"]
    return {
        "requests": run["responses"],
        "seconds": run["measured_seconds"],
        "bytes": run["bytes_received"],
        "percentiles_us": {
            f"{quantile * 100:.4f}".rstrip("0").rstrip("."): nanoseconds / 1000
            for quantile, nanoseconds in latency["curve"]
        }
        | {name: latency[f"p{name}"] / 1000 for name in ("50", "90", "99", "99.9", "99.99")},
        "errors": {name: value for name, value in run["errors"].items() if value},
        "unsent": run["unsent"],
    }
