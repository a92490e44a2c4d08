"""What every Python peer answers, apart from its HTTP: the data set and the JSON."""

import os
import pathlib

import orjson

DATASET = orjson.loads(pathlib.Path(os.environ["DATASET"]).read_bytes())
PLAINTEXT = "Hello, World!"
PIPELINE = "ok"


def message() -> bytes:
    """What /json answers, serialised anew for each request."""
    return orjson.dumps({"message": PLAINTEXT})


def page(count: int, multiplier: int) -> bytes:
    """The first items with their totals."""
    items = [
        {**item, "total": item["price"] * item["quantity"] * multiplier}
        for item in DATASET[:count]
    ]
    return orjson.dumps({"items": items, "count": len(items)})
