"""What the kernel says about a group of processes."""

import os
import pathlib

TICK_US = 1_000_000 / os.sysconf("SC_CLK_TCK")


def group(leader: int) -> list:
    """The processes of a process group, whoever started them."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = stat(int(entry.name))
            if fields and int(fields[2]) == leader and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def stat(pid: int) -> list:
    """proc_pid_stat(5) from the state on: the name before it may hold spaces."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return []
    return text.rpartition(")")[2].split()


def cpu_us(pids: list) -> float:
    """User and system time of the processes so far, in microseconds.

    The scheduler's own count, by thread and in nanoseconds, where the kernel keeps one: the ticks
    of proc_pid_stat(5) are 10 ms, a hundredth of a one-second run.
    """
    return sum(precise_us(pid) or ticks_us(pid) for pid in pids)


def precise_us(pid: int) -> float:
    total = 0
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            text = pathlib.Path(f"/proc/{pid}/task/{task}/schedstat").read_text()
            total += int(text.split()[0])
    except OSError:
        return 0
    return total / 1000


def ticks_us(pid: int) -> float:
    fields = stat(pid)
    return sum(int(field) for field in fields[11:15]) * TICK_US if fields else 0


def memory_kib(pids: list, name: str) -> int:
    """The sum of `VmRSS` (now) or `VmHWM` (at its highest) over the processes, in KiB."""
    total = 0
    for pid in pids:
        try:
            text = pathlib.Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        for line in text.splitlines():
            if line.startswith(name + ":"):
                total += int(line.split()[1])
    return total


def busy_us(cpu: int) -> float:
    """The time that a CPU has not idled so far, stolen time included; proc_stat(5)."""
    for line in pathlib.Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name == f"cpu{cpu}":
            user, nice, system, _, _, *rest = [int(field) for field in fields[:8]]
            return (user + nice + system + sum(rest)) * TICK_US
    return 0
