"""The README's table is the one of the results that it names."""

import json
import pathlib
import tempfile
import unittest

from report.figures import Figures
from report.readme import BLOCK, table, update
from subject import ROOT
from tests import sample


class Readme(unittest.TestCase):
    def test_the_table_is_that_of_its_results(self):
        found = BLOCK.findall((ROOT / "README.md").read_text())
        self.assertEqual(len(found), 1)
        [(path, text)] = found
        results = json.loads((ROOT / path).read_text())
        self.assertEqual(text, table(Figures(results)), "run scripts/compare --readme " + path)

    def test_the_least_of_each_column_stands_out(self):
        text = table(Figures(sample.results()))
        rows = [line for line in text.splitlines() if line.startswith("| ")]
        self.assertIn("**", rows[1])
        self.assertTrue(rows[1].startswith("| nginx |"), rows[1])
        self.assertTrue(rows[-1].startswith("| slow-one | 1"), rows[-1])
        self.assertNotIn("ceiling", text)

    def test_only_results_in_the_tree_are_named(self):
        with tempfile.TemporaryDirectory() as folder:
            readme = pathlib.Path(folder) / "tree" / "README.md"
            readme.parent.mkdir()
            readme.write_text("<!-- From x, by scripts/compare --readme; do not edit. -->\nold\n"
                              "<!-- The end of the table. -->\nafter\n")
            with self.assertRaises(SystemExit):
                update(readme, pathlib.Path(folder) / "results.json", sample.results())
            update(readme, readme.parent / "r" / "results.json", sample.results())
            text = readme.read_text()
            self.assertIn("<!-- From r/results.json,", text)
            self.assertNotIn("old", text)
            self.assertTrue(text.endswith("after\n"))
