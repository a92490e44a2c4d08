"""Run by `python3 -m unittest discover --start-directory bench/compare`."""
