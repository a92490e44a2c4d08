"""Counting instructions: what callgrind writes, the client, and a small count of a real server."""

import argparse
import pathlib
import shutil
import socket
import tempfile
import threading
import unittest

import callgrind
import instructions
import micro
from lockstep import Lockstep
from place import Place
from scenario import cases
from subject import OWN, Subject

SAMPLE = """version: 1
events: Ir
fn=(1) main
0 5
cfn=(2) work::h0123456789abcdef
calls=2 0
0 40
fn=(2)
0 30
cfn=(2)
calls=1 0
0 9
fn=(3) idle
+1 2
"""
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Instructions(unittest.TestCase):
    def test_costs_are_added_up_by_function(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "out"
            path.write_text(SAMPLE)
            profile = callgrind.read(path)
        self.assertEqual(profile.total, 37)
        self.assertEqual(profile.own, {"main": 5, "work": 30, "idle": 2})
        # What a function's own calls of itself cost is in it already.
        self.assertEqual(profile.inclusive, {"main": 45, "work": 30, "idle": 2})
        self.assertEqual(profile.largest(1, ""), [("work", 30, 30)])

    def test_the_largest_are_those_below_the_root(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "out"
            path.write_text(SAMPLE.replace("0 30", "0 1"))
            profile = callgrind.read(path)
        self.assertEqual([name for name, _, _ in profile.largest(3, "main")], ["main", "work"])

    def test_what_two_runs_share_cancels_out(self):
        early = callgrind.Profile(100, {"a": 60}, {"a": 100}, {})
        late = callgrind.Profile(300, {"a": 90, "b": 20}, {"a": 280, "b": 20}, {})
        expected = callgrind.Profile(10, {"a": 1.5, "b": 1}, {"a": 9, "b": 1}, {})
        self.assertEqual(late.per(20, early), expected)

    def test_counts_are_whole_rounds(self):
        [case] = cases(["pipelined"], is_quick=False)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            for _ in range(3):
                threading.Thread(target=answer, args=(listener,), daemon=True).start()
            with Lockstep(listener.getsockname(), case, 3) as client:
                self.assertEqual(client.ask(50), 96)

    def test_a_group_is_measured_by_its_first(self):
        counts = (("a, b/Corelane", 200), ("a, b/x", 300), ("c/Corelane", 10))
        results = [{"case": case, "instructions": count} for case, count in counts]
        rows = micro.table(results).splitlines()[2:]
        self.assertEqual(rows, ["| a, b | 200 | x 300 (1.50) |", "| c | 10 |  |"])

    def test_numbers_are_positive(self):
        for text in ("0", "-1", "x", ""):
            with self.assertRaises(argparse.ArgumentTypeError):
                instructions.positive(text)

    @unittest.skipUnless(shutil.which("valgrind"), "valgrind is not there")
    def test_a_server_is_counted(self):
        place = Place.here(0, 0)
        arena = place.target / "debug" / "arena"
        if not arena.exists():
            self.skipTest("arena is not built: cargo build --package corelane-examples")
        subject = Subject.read(OWN / "arena.toml", "arena")
        subject.start["command"][0] = str(arena)
        [case] = cases(["pipelined"], is_quick=False)
        options = argparse.Namespace(connections=16, requests=512)
        result = instructions.measure(subject, case, place, options)
        self.assertEqual(result["requests"], 4 * 512)
        # An unoptimised build takes more than the few thousand of a release; nothing takes less.
        self.assertGreater(result["instructions_per_request"], 500)
        self.assertLess(result["instructions_per_request"], 1_000_000)
        self.assertEqual(len(result["largest"]), instructions.LARGEST)


def answer(listener: socket.socket) -> None:
    """Answers each request of one connection."""
    stream, _ = listener.accept()
    with stream, stream.makefile("rb") as lines:
        for line in lines:
            if not line.strip():
                stream.sendall(ANSWER)
