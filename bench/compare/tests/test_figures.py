"""Medians, ratios and verdicts."""

import unittest

from report.figures import Figures, Spread
from report.ratios import against_peers, summary, verdict
from report.style import REST, series
from tests import sample


class Ratios(unittest.TestCase):
    def test_spread_is_median_and_extremes(self):
        self.assertEqual(Spread.of([3, 1, 2]), Spread(2, 1, 3, 3))
        self.assertIsNone(Spread.of([]))

    def test_ratios_pair_the_rounds(self):
        results = sample.results()
        for run in results["runs"]:
            # A disturbance of a whole round cancels out.
            if "failure" not in run:
                run["cpu_us_per_request"] = sample.COSTS[run["subject"]] * run["round"]
        ratio = Figures(results).ratio("arena", "ceiling", "plaintext@64", "cpu_us_per_request")
        self.assertAlmostEqual(ratio.low, ratio.high)
        self.assertAlmostEqual(ratio.median, 5.4 / 5.0)

    def test_verdict_needs_all_rounds_on_one_side(self):
        for spread, expected in (
            (Spread(0.8, 0.7, 0.9, 3), "good"),
            (Spread(0.8, 0.7, 1.1, 3), None),
            (Spread(1.2, 1.1, 1.3, 3), "bad"),
            (Spread(1.2, 0.9, 1.3, 3), None),
            (Spread(1.01, 1.005, 1.02, 3), None),
        ):
            self.assertEqual(verdict(spread), expected, spread)

    def test_losses_are_named(self):
        text = summary(Figures(sample.results()))
        self.assertIn("less CPU than 2; nearest: hyper 0.79", text)
        self.assertRegex(text, r"more CPU than 1: nginx 1\.0\d")
        self.assertEqual(text.count('<i class="bad">'), len(sample.CASES))

    def test_the_file_server_is_ours_too(self):
        results = sample.results()
        for run in results["runs"]:
            if run["case"] == "plaintext@1" and run["subject"] == "arena":
                run["subject"] = "corelane-serve"
        results["subjects"].append(sample.subject("corelane-serve"))
        figures = Figures(results)
        self.assertEqual(figures.ours("plaintext@1"), "corelane-serve")
        self.assertEqual(figures.ours("plaintext@64"), "arena")
        self.assertEqual(summary(figures).count('<i class="bad">'), len(sample.CASES))
        self.assertIn("nginx", against_peers(figures))

    def test_lines_beyond_the_eighth_peer_are_pale(self):
        names = ["arena", "ceiling", *map(str, range(10))]
        styles = series(names)
        self.assertEqual(len({styles[name][0] for name in names[:10]}), 10)
        self.assertEqual({styles[name][0] for name in names[10:]}, {REST})

    def test_failed_runs_count_for_nothing(self):
        figures = Figures(sample.results())
        self.assertEqual(set(figures.values("hyper", "plaintext@1", "startup_ms")), {1, 2, 3})
