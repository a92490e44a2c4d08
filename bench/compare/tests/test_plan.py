"""The order of the runs, what a stopped comparison keeps, and what the results never hold."""

import json
import pathlib
import tempfile
import unittest
from unittest import mock

import plan
import run
from plan import Step, steps
from results import Results, public
from run import Run
from scenario import cases
from subject import CAPABILITIES, ROOT, Subject

TARGET = pathlib.Path("/elsewhere/target")


def subject(name: str, answers=CAPABILITIES) -> Subject:
    return Subject(name, name, "", "", ROOT, {}, {}, {}, list(answers), {})


class Plan(unittest.TestCase):
    def test_rounds_are_interleaved(self):
        two = [subject("a"), subject("b")]
        one_case = cases(["pipelined"], is_quick=False)
        keys = [step.key[:4] for step in steps(two, one_case, 2, False, True)]
        name = one_case[0].name
        expected = [("closed", who, name, number) for number in (1, 2) for who in "ab"]
        self.assertEqual(keys[:4], expected)
        self.assertEqual([key[0] for key in keys[4:]], ["idle", "idle"])

    def test_nobody_runs_what_it_can_not_answer(self):
        able = [subject("a"), subject("b", ["plaintext"])]
        planned = steps(able, cases(["upload-1mb"], is_quick=False), 1, False, True)
        names = [step.subject.name for step in planned if step.kind == "closed"]
        self.assertEqual(names, ["a"])

    def test_the_sweep_has_fewer_rounds(self):
        planned = steps([subject("a")], cases(["plaintext"], is_quick=False), 5, False, True)
        rounds = {kind: {s.round for s in planned if s.kind == kind} for kind in ("shared", "own")}
        self.assertEqual(rounds, {"shared": {1, 2, 3, 4, 5}, "own": {1, 2}})

    def test_the_quick_plan_fits_its_five_minutes(self):
        nine = [subject(str(number)) for number in range(9)]
        planned = steps(nine, cases([], is_quick=True), 1, True, True)
        self.assertLess(sum(step.seconds(1) for step in planned), 270)


class Kept(unittest.TestCase):
    def carry_out(self, folder: str, fails_after: int, resumes: bool) -> list:
        """The keys of the steps that were run."""
        results = Results(pathlib.Path(folder), TARGET)
        if resumes:
            results.resume()
        taken = []

        def measure(subject, case, *_):
            if len(taken) == fails_after:
                raise KeyboardInterrupt
            taken.append((subject.name, case.name))
            return {"subject": subject.name, "case": case.name, "requests_per_second": 1}

        planned = steps([subject("a"), subject("b")], cases(["baseline"], False), 2, False, False)
        planned = [step for step in planned if step.kind == "closed"]
        with mock.patch.object(run, "measure", measure), mock.patch.object(run, "say"):
            doing = Run(planned, results, None, 1, float("inf"))
            try:
                doing.all()
            except KeyboardInterrupt:
                results.save()
        return taken

    def test_a_stopped_run_goes_on_where_it_was(self):
        with tempfile.TemporaryDirectory() as folder:
            first = self.carry_out(folder, fails_after=5, resumes=False)
            kept = json.loads((pathlib.Path(folder) / "results.json").read_text())
            self.assertEqual(len(kept["runs"]), 5)
            second = self.carry_out(folder, fails_after=100, resumes=True)
            kept = json.loads((pathlib.Path(folder) / "results.json").read_text())
        self.assertEqual(len(first + second), 12)
        keys = {(one["subject"], one["case"], one["round"]) for one in kept["runs"]}
        self.assertEqual((len(keys), kept["rounds"]), (12, 2))

    def test_a_round_that_would_end_too_late_is_not_begun(self):
        planned = [Step("closed", subject("a"), cases(["json"], False)[0], n) for n in (1, 2)]
        taken = []
        with mock.patch.object(Run, "take", lambda _, step: taken.append(step.round)):
            with mock.patch.object(run, "say"), tempfile.TemporaryDirectory() as folder:
                Run(planned, Results(pathlib.Path(folder), TARGET), None, 1, 0).all()
        self.assertEqual(taken, [1])


class Public(unittest.TestCase):
    def test_no_path_or_address_is_left(self):
        home = pathlib.Path.home()
        for text, expected in (
            (f"{ROOT}/bench/peers/x", "./bench/peers/x"),
            (f"{TARGET}/release/arena --x", "target/release/arena --x"),
            (f"{home}/.cache", "~/.cache"),
            ("open /var/lib/thing/file.so: no", "open …/file.so: no"),
            ("from https://index.example.org/simple/", "from (an address)"),
            ("http://127.0.0.1:8080/json/5?m=7", "http://127.0.0.1:8080/json/5?m=7"),
            ('GET /json/5 and "/baseline11?a=1"', 'GET /json/5 and "/baseline11?a=1"'),
            ("POST /upload gave 1/2", "POST /upload gave 1/2"),
        ):
            self.assertEqual(public({"a": [text]}, TARGET), {"a": [expected]})

    def test_the_kept_results_are_public(self):
        for path in (ROOT / "bench" / "results").glob("*/results.json"):
            results = json.loads(path.read_text())
            self.assertEqual(public(results, TARGET), results, path)


class Words(unittest.TestCase):
    def test_durations(self):
        self.assertEqual([plan.duration(s) for s in (0.4, 99, 150)], ["0 s", "99 s", "2 min"])
