"""Where a subject is built is where it is started from."""

import os
import pathlib
import tempfile
import unittest
from unittest import mock

import build
from place import Place, target_folder
from subject import ROOT, Subject


def subject(command: list) -> Subject:
    return Subject("own", "own", "", "", ROOT, {"command": command}, {}, {}, [], {})


class Folders(unittest.TestCase):
    def test_a_build_has_the_target_folder_that_its_start_names(self):
        with tempfile.TemporaryDirectory() as folder:
            place = Place(pathlib.Path(folder), pathlib.Path(), 0, 1)
            script = 'touch "$CARGO_TARGET_DIR/peer-own"; test @TARGET@ = "$CARGO_TARGET_DIR"'
            build.build(subject(["sh", "-c", script]), place)
            self.assertTrue((place.target / "peer-own").exists())

    def test_it_is_the_one_that_cargo_takes_from_the_root(self):
        absolute = pathlib.Path("/elsewhere")
        for value, expected in (("elsewhere", ROOT / "elsewhere"), (str(absolute), absolute)):
            with mock.patch.dict(os.environ, {"CARGO_TARGET_DIR": value}):
                self.assertEqual(target_folder(), expected)
        with mock.patch.dict(os.environ):
            os.environ.pop("CARGO_TARGET_DIR", None)
            self.assertEqual(target_folder(), ROOT / "target")
