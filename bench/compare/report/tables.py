"""The tables of figures and of facts."""

from report.figures import Figures
from report.markup import Markup, element, number, table

# What a peer's description calls them, as a reader of the report knows them.
ASKED = {
    "plaintext": "GET /plaintext",
    "pipeline": "GET /pipeline",
    "json": "GET /json",
    "baseline-get": "GET /baseline11",
    "baseline-post": "POST /baseline11",
    "baseline-chunked": "POST /baseline11, chunked",
    "items": "GET /json/{count}",
    "upload": "POST /upload",
    "files": "GET /files/{name}",
    "files-gzip": "GET /files/{name}, compressed",
    "close": "Connection: close",
}


def spread_cell(spread, divisor: float = 1):
    if spread is None:
        return ("–", "none")
    low, high = number(spread.low / divisor), number(spread.high / divisor)
    return Markup(f"{number(spread.median / divisor)} <small>({low}–{high})</small>")


def throughput(figures: Figures) -> Markup:
    cases = list(figures.cases.values())
    rows = [
        [
            figures.title(name),
            *[
                spread_cell(figures.spread(name, case["name"], "requests_per_second"), 1000)
                for case in cases
            ],
        ]
        for name in figures.subjects
    ]
    head = ["Server", *[case["label"] for case in cases]]
    return table(head, rows, "Thousand requests a second: median, lowest and highest round.")


def bound(figures: Figures) -> Markup:
    cases = list(figures.cases.values())
    rows = []
    for name in figures.subjects:
        shares = [figures.spread(name, case["name"], "server_cpu_share") for case in cases]
        cells = [f"{share.median:.0%}" if share else ("–", "none") for share in shares]
        rows.append([figures.title(name), *cells])
    head = ["Server", *[case["label"] for case in cases]]
    caption = (
        "How much of its CPU the server used. Where that is well below 100 %, the load generator "
        "or whoever else was on the machine was the limit: such throughputs are not the server's."
    )
    return table(head, rows, caption)


def memory(figures: Figures) -> Markup:
    rows = []
    for name in figures.subjects:
        idle = figures.results["idle"].get(name, {})
        if "bytes" in idle:
            cell = f"{idle['bytes']:,.0f} B"
        else:
            cell = (idle.get("failure", "not measured"), "text none")
        peak = figures.over_all(name, "memory_peak_kib")
        startup = figures.over_all(name, "startup_ms")
        rows.append([
            figures.title(name),
            cell,
            f"{idle['connections']:,}" if "connections" in idle else ("–", "none"),
            f"{peak.high / 1024:,.1f} MiB" if peak else ("–", "none"),
            spread_cell(startup),
        ])  # fmt: skip
    head = ["Server", "An idle connection", "Idle connections", "Highest memory", "Start-up, ms"]
    caption = (
        "Resident memory of all the server's processes (the kernel's share of a connection is not "
        "in it); start-up is from the start of the process to its first answer."
    )
    return table(head, rows, caption)


def errors(figures: Figures) -> Markup:
    found = []
    for run in figures.results["runs"] + figures.results.get("open_loop", []):
        counted = {name: count for name, count in run.get("errors", {}).items() if count}
        if counted or "failure" in run:
            words = run.get("failure") or ", ".join(f"{n} {c}" for n, c in counted.items())
            found.append((run["subject"], run["case"], run["round"], words))
    if not found:
        return element("p", "No run failed and no request went wrong.")
    rows = [
        [figures.title(name), figures.cases[case]["label"], str(number), (words, "text")]
        for name, case, number, words in found
    ]
    return table(["Server", "Case", "Round", "What"], rows, "Errors", is_numeric=False)


def skipped(figures: Figures) -> Markup:
    rows = [[name, "everything", (why, "text")] for name, why in figures.results["skipped"].items()]
    for one in figures.subjects.values():
        for capability, why in one["missing"].items():
            rows.append([one["title"], ASKED[capability], (why, "text")])
    if not rows:
        return element("p", "Every server answers everything.")
    return table(["Server", "What", "Why"], rows, "Left out, and why", is_numeric=False)


def subjects(figures: Figures) -> Markup:
    rows = []
    for one in figures.subjects.values():
        versions = ", ".join(f"{name} {version}" for name, version in one["versions"].items())
        command = element("code", one["command"])
        texts = [(part, "text") for part in (versions, one["settings"], command)]
        rows.append([one["title"], one["language"], *texts])
    head = ["Server", "Language", "Versions", "Settings", "Command"]
    return table(head, rows, "What was compared", is_numeric=False)


def machine(figures: Figures) -> Markup:
    facts = dict(figures.results["machine"])
    if others := figures.disturbance():
        words = f"median {others.median:.1%}, at most {others.high:.1%} of it"
        facts["Others on the server's CPU"] = words
    rows = [[name, (value, "text")] for name, value in facts.items()]
    return table(["Fact", "Value"], rows, "The machine", is_numeric=False)
