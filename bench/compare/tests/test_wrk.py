"""What wrk is told to send."""

import unittest

import wrk
from scenario import cases


class Scripts(unittest.TestCase):
    def test_every_scenario_reads(self):
        names = {case.name for case in cases([], is_quick=False)}
        self.assertLessEqual({"plaintext@1", "baseline@4096", "upload-20mb@4"}, names)

    def test_quick_has_the_case_of_the_open_loop(self):
        self.assertIn("plaintext@64", {case.name for case in cases([], is_quick=True)})

    def test_one_request_in_ten_closes(self):
        [case] = cases(["short-lived"], is_quick=False)
        self.assertEqual([closes for _, closes in wrk.rotation(case)], [False] * 9 + [True])

    def test_text_is_quoted_for_lua(self):
        [case] = cases(["json"], is_quick=False)
        self.assertIn('target = "/json/50?m=6"', wrk.script(case))
