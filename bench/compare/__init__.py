"""Compares the server with its peers; see `scripts/compare --help`."""
