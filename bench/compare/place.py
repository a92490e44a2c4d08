"""Where things are: what `@NAME@` stands for in a peer's description and its templates."""

import dataclasses
import itertools
import json
import os
import pathlib
import random
import socket

from subject import PEERS, ROOT

# The one that the server has built in.
DATASET = ROOT / "examples" / "arena" / "dataset.json"

FILE_SIZES = {"8k.bin": 8 << 10, "200k.bin": 200 << 10, "20m.bin": 20 << 20}


def target_folder() -> pathlib.Path:
    """Cargo's target folder for all that is built here, the peers' own workspace included.

    As cargo takes it from the root: a relative one begins there.
    """
    return ROOT / os.environ.get("CARGO_TARGET_DIR", "target")


@dataclasses.dataclass
class Place:
    """The folders and the pins that all subjects of one comparison share."""

    target: pathlib.Path
    dataset: pathlib.Path
    server_cpu: int
    load_cpu: int
    host: str = "127.0.0.1"

    @classmethod
    def here(cls, server_cpu: int, load_cpu: int) -> "Place":
        return cls(target_folder(), DATASET, server_cpu, load_cpu)

    def files(self) -> pathlib.Path:
        """The folder that file servers serve, with the same contents always.

        Written once: a server may look more often at files that have just changed.
        """
        folder = self.target / "peers" / "files"
        (folder / "files").mkdir(parents=True, exist_ok=True)
        items = json.loads(self.dataset.read_text())[:50]
        contents = {"plaintext": b"Hello, World!", "files/items.json": json.dumps(items).encode()}
        for name, size in FILE_SIZES.items():
            contents[f"files/{name}"] = random.Random(size).randbytes(size)
        for name, content in contents.items():
            path = folder / name
            if not path.exists() or path.read_bytes() != content:
                path.write_bytes(content)
        return folder

    def build_folder(self, name: str) -> pathlib.Path:
        return self.target / "peers" / name

    def values(self, name: str, port: int = 0, run: pathlib.Path | None = None) -> dict:
        """What the placeholders of one subject stand for."""
        return {
            "ADDRESS": f"{self.host}:{port}",
            "HOST": self.host,
            "PORT": str(port),
            "CPU": str(self.server_cpu),
            "DATASET": str(self.dataset),
            "PEERS": str(PEERS),
            "ROOT": str(ROOT),
            "TARGET": str(self.target),
            "FILES": str(self.target / "peers" / "files"),
            "BUILD": str(self.build_folder(name)),
            "RUN": str(run or ""),
        }


def fill(text: str, values: dict) -> str:
    """The text with every `@NAME@` replaced."""
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return text


PORTS = itertools.cycle(range(18080, 20080))


def free_port(host: str) -> int:
    """A port that nobody listens on, another each time.

    Not every server sets SO_REUSEADDR: the last one's port may be waiting for its connections to
    time out. The range lies below those that clients' own ports come from.
    """
    for port in itertools.islice(PORTS, 2000):
        with socket.socket() as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    raise SystemExit("No free port between 18080 and 20079.")
