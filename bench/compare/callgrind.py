"""Counts the instructions that a program executes, by function, under valgrind's callgrind."""

import dataclasses
import pathlib
import re
import subprocess

# The name of a subposition is given once, and only its number from then on.
NAMED = re.compile(r"\((\d+)\)(?: (.*))?")
# What a compiler appends to a name to make it unique says nothing to a reader.
SUFFIX = re.compile(r"(::h[0-9a-f]{16}|\.llvm\.\d+|'\d+)+$")


class Failed(Exception):
    """Why there is no count, in one line."""


@dataclasses.dataclass
class Profile:
    """Instructions by function: its own, and with those of everything that it called."""

    total: float
    own: dict
    inclusive: dict
    callees: dict

    def per(self, count: int, earlier: "Profile") -> "Profile":
        """What is between two profiles, for each of `count` things that happened in between."""

        def change(late: dict, early: dict) -> dict:
            return {name: (late[name] - early.get(name, 0)) / count for name in late}

        total = (self.total - earlier.total) / count
        own, inclusive = change(self.own, earlier.own), change(self.inclusive, earlier.inclusive)
        return Profile(total, own, inclusive, self.callees)

    def largest(self, count: int, root: str) -> list:
        """The functions with the most instructions of their own: name, own, inclusive.

        Only those that `root` calls, directly or not, where there is such a function.
        """
        names = self.below(root) if root in self.own else self.own
        names = sorted(names, key=lambda name: -self.own.get(name, 0))[:count]
        return [(name, self.own.get(name, 0), self.inclusive.get(name, 0)) for name in names]

    def below(self, root: str) -> set:
        """The root, and what it calls, directly or not."""
        found, left = {root}, [root]
        while left:
            new = self.callees.get(left.pop(), set()) - found
            found |= new
            left += new
        return found


def prefix(out: pathlib.Path) -> list:
    """The words before a command that has to be counted; `out` is written when it ends."""
    return [
        "valgrind", "--tool=callgrind", "--quiet", f"--callgrind-out-file={out}",
        # One count for a function that calls itself, by whatever way.
        "--separate-recs=1", "--dump-line=no",
        # A thread that waits in io_uring_enter(2) keeps valgrind's lock: it must at least pass it
        # on to the next thread when it has come out.
        "--fair-sched=yes",
    ]  # fmt: skip


def run(words: list, out: pathlib.Path, seconds_max: float) -> Profile:
    """Counts one command from its start to its end."""
    outcome = subprocess.run(
        [*prefix(out), *words], capture_output=True, text=True, timeout=seconds_max
    )
    if outcome.returncode != 0:
        said = (outcome.stderr or outcome.stdout).strip().splitlines()
        raise Failed(said[-1] if said else f"{words[0]} ended with {outcome.returncode}")
    return read(out)


def read(out: pathlib.Path) -> Profile:
    """Adds up what callgrind wrote, for all threads."""
    names, own, inclusive, callees = {}, {}, {}, {}
    function = callee = ""
    is_call = False
    with out.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            key, sign, rest = line.rstrip("\n").partition("=")
            if sign and key in ("fn", "cfn"):
                name = resolve(names, rest)
                function, callee = (name, callee) if key == "fn" else (function, name)
            elif key == "calls":
                is_call = True
                callees.setdefault(function, set()).add(callee)
            elif line[0] in "0123456789+-*" and function:
                cost = int(line.split()[1])
                # With callers in the same function counted twice it would exceed the whole.
                if not is_call:
                    own[function] = own.get(function, 0) + cost
                if not is_call or callee != function:
                    inclusive[function] = inclusive.get(function, 0) + cost
                is_call = False
    if not own:
        raise Failed(f"{out.name} has no counts")
    return Profile(sum(own.values()), own, inclusive, callees)


def resolve(names: dict, text: str) -> str:
    number, name = NAMED.fullmatch(text).groups()
    if name is not None:
        names[number] = SUFFIX.sub("", name)
    return names[number]
