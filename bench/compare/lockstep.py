"""A client whose requests a server meets in the same order and number every time."""

import socket

SECONDS_MAX = 120


class Lockstep:
    """Connections that all ask, and then all wait: no timing decides how many ask at once."""

    def __init__(self, address: tuple, case, connections: int):
        texts = [text(one, address) for one in case.requests]
        # All connections ask for the same at a time, and for everything in turn.
        self.batches = [
            b"".join(texts[(start + step) % len(texts)] for step in range(case.pipeline))
            for start in range(len(texts))
        ]
        self.pipeline = case.pipeline
        self.streams = [socket.create_connection(address, SECONDS_MAX) for _ in range(connections)]
        self.answers = [stream.makefile("rb") for stream in self.streams]
        for stream in self.streams:
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> "Lockstep":
        return self

    def __exit__(self, *_) -> None:
        for one in [*self.answers, *self.streams]:
            one.close()

    def ask(self, count: int) -> int:
        """Asks `count` times or a little more, by whole rounds; says how often it was."""
        asked = 0
        while asked < count:
            for batch in self.batches:
                for stream in self.streams:
                    stream.sendall(batch)
                for answers in self.answers:
                    for _ in range(self.pipeline):
                        take(answers)
                asked += self.pipeline * len(self.streams)
        return asked


def text(request, address: tuple) -> bytes:
    body = b"x" * request.body_bytes or request.body.encode()
    lines = [f"{request.method} {request.target} HTTP/1.1", f"Host: {address[0]}:{address[1]}"]
    if body:
        lines += [f"Content-Type: {request.content_type}", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def take(answers) -> None:
    """Reads one answer to its end."""
    status = answers.readline()
    if not status.startswith(b"HTTP/1.1 200"):
        raise OSError(f"it answered {status[:40]!r}")
    size = None
    while (line := answers.readline()).strip():
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            size = int(value)
    if size is None:
        raise OSError("an answer does not say its length")
    answers.read(size)
