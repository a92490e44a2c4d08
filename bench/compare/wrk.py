"""Load by `wrk`: closed loop only, one thread."""

import json
import pathlib
import shutil
import subprocess
import time

from scenario import Case

NAME = "wrk"
IS_OPEN_LOOP = False
PERCENTILES = (50, 75, 90, 95, 99, 99.5, 99.9, 99.99, 100)
MARK = "RESULT "

# `request` is called for every request: it must do no more than hand out a string. The number
# of requests in a string is what wrk counts when it looks at the first one.
SCRIPT = """
local texts = {}
local turn = 0
function init(args)
    local function body(request)
        if request.bytes > 0 then return string.rep("x", request.bytes) end
        return request.body
    end
    local one = {}
    for index, request in ipairs(requests) do
        local headers = {}
        if request.kind ~= "" then headers["Content-Type"] = request.kind end
        if request.accept ~= "" then headers["Accept-Encoding"] = request.accept end
        if request.close then headers["Connection"] = "close" end
        local text = request.method ~= "GET" and body(request) or nil
        one[index] = wrk.format(request.method, request.target, headers, text)
    end
    for index = 1, #one do
        local parts = {}
        for step = 1, pipeline do parts[step] = one[(index + step - 2) % #one + 1] end
        texts[index] = table.concat(parts)
    end
end
function request()
    turn = turn % #texts + 1
    return texts[turn]
end
function done(summary, latency, _)
    local parts = {}
    for _, p in ipairs(percentiles) do
        local value = p == 100 and latency.max or latency:percentile(p)
        parts[#parts + 1] = string.format('"%g": %d', p, value)
    end
    local e = summary.errors
    print(string.format(
        'RESULT {"requests": %d, "seconds": %f, "bytes": %d, "percentiles_us": {%s}, ' ..
        '"errors": {"connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}}',
        summary.requests, summary.duration / 1e6, summary.bytes, table.concat(parts, ", "),
        e.connect, e.read, e.write, e.status, e.timeout))
end
"""


def is_there() -> bool:
    return shutil.which("wrk") is not None


def version() -> str:
    # It prints its version and ends with 1.
    outcome = subprocess.run(["wrk", "--version"], capture_output=True, text=True)
    return " ".join((outcome.stdout + outcome.stderr).split()[:2])


def rotation(case: Case) -> list:
    """The requests in turn, the last of a connection's with Connection: close.

    wrk's script does not know which connection asks, so connections get the closing request at
    the right rate, but not each after exactly so many.
    """
    if case.requests_per_connection == 0:
        return [(request, False) for request in case.requests]
    count = case.requests_per_connection
    return [(case.requests[n % len(case.requests)], n == count - 1) for n in range(count)]


def script(case: Case) -> str:
    """The Lua program for a case."""
    rows = [
        "{{method = {}, target = {}, kind = {}, accept = {}, body = {}, bytes = {}, close = {}}}".format(
            json.dumps(one.method), json.dumps(one.target), json.dumps(one.content_type),
            json.dumps(one.accept_encoding), json.dumps(one.body), one.body_bytes, str(closes).lower(),
        )
        for one, closes in rotation(case)
    ]  # fmt: skip
    percentiles = ", ".join(str(p) for p in PERCENTILES)
    return (
        f"local requests = {{{', '.join(rows)}}}\nlocal pipeline = {case.pipeline}\n"
        f"local percentiles = {{{percentiles}}}\n{SCRIPT}"
    )


def command_words(case: Case, url: str, seconds: int, cpu: int, folder: pathlib.Path) -> list:
    """The exact command."""
    return [
        "taskset", "--cpu-list", str(cpu), "wrk", "--threads", "1",
        "--connections", str(case.connections), "--duration", f"{seconds}s", "--timeout", "10s",
        "--script", str(folder / "load.lua"), url,
    ]  # fmt: skip


def run(case: Case, url: str, seconds: int, cpu: int, folder: pathlib.Path, rate=None) -> dict:
    """The result of one run; a `ValueError` says what went wrong."""
    (folder / "load.lua").write_text(script(case))
    words = command_words(case, url, seconds, cpu, folder)
    outcome = subprocess.run(words, capture_output=True, text=True, timeout=seconds + 60)
    for line in outcome.stdout.splitlines():
        if line.startswith(MARK):
            return json.loads(line.removeprefix(MARK))
    said = outcome.stderr.strip() or outcome.stdout.strip()
    raise ValueError(said[-200:] or "wrk said nothing")


def warm_up(case: Case, url: str, seconds: float, cpu: int, folder: pathlib.Path) -> None:
    """Loads for a time that may be shorter than the whole second that wrk knows."""
    (folder / "load.lua").write_text(script(case))
    words = command_words(case, url, 60, cpu, folder)
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        time.sleep(seconds)
        process.terminate()
