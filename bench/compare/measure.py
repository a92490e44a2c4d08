"""One run: a fresh server, a warm-up, the load, and what both cost."""

import contextlib
import pathlib
import subprocess
import sys
import time

import proc
import wrk
from place import Place
from scenario import Case
from server import Server, StartError
from subject import Subject

WARMUP_SHARE = 0.3


def warmup_seconds(run_seconds: float) -> float:
    """How long a server is loaded before a run of so many seconds."""
    return min(1, WARMUP_SHARE * run_seconds)


def measure(subject: Subject, case: Case, place: Place, tool, seconds: float, rate=None) -> dict:
    """The record of one run; where it failed, its `failure` says why."""
    record = {
        "subject": subject.name, "case": case.name, "tool": tool.NAME, "rate": rate,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }  # fmt: skip
    try:
        with Server(subject, place) as server:
            record["startup_ms"] = round(server.startup_ms, 2)
            with slow_peers(server, case.slow_peers, place):
                try:
                    record |= load(server, case, place, tool, seconds, rate)
                except ValueError as error:
                    # What the load tool saw of it was only that nobody was there any more.
                    raise error if server.is_running() else ValueError(ended(server)) from error
            record["memory_peak_kib"] = proc.memory_kib(server.pids(), "VmHWM")
            if not server.is_running():
                record["failure"] = ended(server)
    except (StartError, KeyError, ValueError, OSError, subprocess.TimeoutExpired) as error:
        record["failure"] = str(error)[:300]
    return record


def ended(server: Server) -> str:
    return f"the server ended: {server.words()}"


def load(server: Server, case: Case, place: Place, tool, seconds: float, rate) -> dict:
    url = server.url(case.requests[0].target)
    # Compiled code has its caches filled by it, interpreted code its compiler run.
    wrk.warm_up(case, url, warmup_seconds(seconds), place.load_cpu, server.folder)
    before, busy_before = proc.cpu_us(server.pids()), proc.busy_us(place.server_cpu)
    begin = time.perf_counter()
    result = tool.run(case, url, seconds, place.load_cpu, server.folder, rate)
    wall_us = (time.perf_counter() - begin) * 1e6
    cpu = proc.cpu_us(server.pids()) - before
    others = proc.busy_us(place.server_cpu) - busy_before - cpu
    if result["requests"] == 0:
        raise ValueError(f"no request was answered; errors: {result['errors']}")
    result["cpu_us_per_request"] = round(cpu / result["requests"], 4)
    result["requests_per_second"] = round(result["requests"] / result["seconds"], 1)
    # Near one, the server's CPU was the bound; well below, the load's was.
    result["server_cpu_share"] = round(cpu / 1e6 / result["seconds"], 3)
    # What somebody else took of the server's CPU meanwhile: the measure of a disturbed run.
    result["others_cpu_share"] = round(max(0, others / wall_us), 3)
    return result


@contextlib.contextmanager
def slow_peers(server: Server, count: int, place: Place):
    """Runs `slow.py` beside the load for as long as the block lasts."""
    if count == 0:
        yield
        return
    path = pathlib.Path(__file__).with_name("slow.py")
    words = ["taskset", "--cpu-list", str(place.load_cpu), sys.executable, str(path)]
    with subprocess.Popen(
        [*words, server.host, str(server.port), str(count)], stdout=subprocess.PIPE
    ) as process:
        try:
            process.stdout.readline()
            yield
        finally:
            process.kill()
