"""What a reader has to know of the machine that the figures come from."""

import os
import pathlib
import platform
import resource
import subprocess

HERE = pathlib.Path(__file__).parent
FILES = {
    "CPU governor": "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
    "Turbo off": "/sys/devices/system/cpu/intel_pstate/no_turbo",
    "Transparent huge pages": "/sys/kernel/mm/transparent_hugepage/enabled",
    "Clock source": "/sys/devices/system/clocksource/clocksource0/current_clocksource",
    "io_uring disabled": "/proc/sys/kernel/io_uring_disabled",
    "Listen backlog (somaxconn)": "/proc/sys/net/core/somaxconn",
    "Local ports": "/proc/sys/net/ipv4/ip_local_port_range",
    "Reuse of TIME_WAIT": "/proc/sys/net/ipv4/tcp_tw_reuse",
    "Spectre v2": "/sys/devices/system/cpu/vulnerabilities/spectre_v2",
}


def facts(place, tools: list) -> dict:
    """Each fact by its name, in the order of the report."""
    return {
        "CPU": cpu_model(),
        "CPUs": f"{os.cpu_count()}; the server on {place.server_cpu}, the load on {place.load_cpu}",
        "Hypervisor": "yes" if "hypervisor" in cpu_flags() else "none seen",
        "Memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB",
        "Kernel": f"{platform.system()} {platform.release()}",
        "Network": "loopback",
        "Open files": str(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
        "Locked memory": limit(resource.RLIMIT_MEMLOCK),
        **{name: content(path) for name, path in FILES.items()},
        "Load average at the start": " ".join(f"{value:.2f}" for value in os.getloadavg()),
        "Load tools": ", ".join(tool.version() for tool in tools),
        "Python": platform.python_version(),
        "Rust": first_line(["rustc", "--version"]),
        "Commit": first_line(["git", "describe", "--always", "--dirty"]),
    }


def content(path: str) -> str:
    try:
        return " ".join(pathlib.Path(path).read_text().split())
    except OSError:
        return "not shown by this machine"


def cpu_model() -> str:
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def cpu_flags() -> list:
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("flags"):
            return line.split()
    return []


def limit(which: int) -> str:
    value = resource.getrlimit(which)[0]
    return "unlimited" if value == resource.RLIM_INFINITY else f"{value // 1024} KiB"


def first_line(words: list) -> str:
    try:
        outcome = subprocess.run(words, capture_output=True, text=True, cwd=HERE)
    except OSError:
        return "unknown"
    return (outcome.stdout.splitlines() or ["unknown"])[0]
