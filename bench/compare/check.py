"""Asks a server for everything that it says it answers and compares byte by byte."""

import gzip
import http.client
import json
import pathlib
import socket

from place import FILE_SIZES
from server import Server

SECONDS_MAX = 20
PAIRS = ((1, 3), (5, 7), (10, 2), (15, 5), (25, 4), (40, 8), (50, 6))
PIPELINED = 16


class Wrong(Exception):
    """What a server answered instead."""


def check(server: Server, dataset: pathlib.Path) -> dict:
    """The reason by capability for each claim that does not hold."""
    items = json.loads(dataset.read_text())
    checks = {
        "plaintext": plaintext,
        "pipeline": pipeline,
        "json": message,
        "baseline-get": lambda one: text(one, "GET", "/baseline11?a=13&b=42", "55"),
        "baseline-post": lambda one: text(one, "POST", "/baseline11?a=13&b=42", "75", b"20"),
        "baseline-chunked": chunked,
        "items": lambda one: all_pages(one, items),
        "upload": upload,
        "close": close,
        "files": files,
        "files-gzip": compressed,
    }
    wrong = {}
    for capability in server.subject.answers:
        try:
            checks[capability](server)
        except Wrong as error:
            wrong[capability] = f"answers wrongly: {error}"
        except (OSError, http.client.HTTPException, ValueError) as error:
            wrong[capability] = f"does not answer: {type(error).__name__} {error}".strip()
    return wrong


def ask(server: Server, method: str, target: str, body=None, headers=None) -> tuple:
    connection = http.client.HTTPConnection(server.host, server.port, timeout=SECONDS_MAX)
    try:
        is_chunked = not isinstance(body, (bytes, type(None)))
        connection.request(method, target, body, headers or {}, encode_chunked=is_chunked)
        response = connection.getresponse()
        return response.status, response.getheader("Content-Type", ""), response.read()
    finally:
        connection.close()


def text(server: Server, method: str, target: str, expected: str, body=None, kind="text/plain"):
    headers = {"Content-Type": kind} if body else {}
    if body and not isinstance(body, bytes):
        headers["Transfer-Encoding"] = "chunked"
    status, content_type, answer = ask(server, method, target, body, headers)
    if (status, answer) != (200, expected.encode()):
        raise Wrong(f"{method} {target} gave {status} {answer[:60]!r}, not {expected!r}")
    if not content_type.startswith("text/plain"):
        raise Wrong(f"{method} {target} has the type {content_type!r}")


def plaintext(server: Server) -> None:
    text(server, "GET", "/plaintext", "Hello, World!")


def pipeline(server: Server) -> None:
    """One request, then 16 in one write, whose answers must come in full."""
    text(server, "GET", "/pipeline", "ok")
    head = f"GET /pipeline HTTP/1.1\r\nHost: {server.host}\r\n\r\n"
    with socket.create_connection((server.host, server.port), timeout=SECONDS_MAX) as stream:
        stream.sendall(head.encode() * PIPELINED)
        received = b""
        while received.count(b"\r\n\r\nok") < PIPELINED:
            part = stream.recv(65536)
            if not part:
                raise Wrong(f"closed after {received.count(b'HTTP/1.1 200')} of 16 answers")
            received += part


def message(server: Server) -> None:
    status, content_type, answer = ask(server, "GET", "/json")
    if status != 200 or json.loads(answer) != {"message": "Hello, World!"}:
        raise Wrong(f"GET /json gave {status} {answer[:60]!r}")
    if not content_type.startswith("application/json"):
        raise Wrong(f"GET /json has the type {content_type!r}")


def chunked(server: Server) -> None:
    text(server, "POST", "/baseline11?a=13&b=42", "75", iter([b"2", b"0"]))


def all_pages(server: Server, items: list) -> None:
    for count, multiplier in PAIRS:
        expected = [
            {**item, "total": item["price"] * item["quantity"] * multiplier}
            for item in items[:count]
        ]
        target = f"/json/{count}?m={multiplier}"
        status, _, answer = ask(server, "GET", target)
        if status != 200 or json.loads(answer) != {"items": expected, "count": count}:
            raise Wrong(f"GET {target} gave {status} {answer[:60]!r}")


def upload(server: Server) -> None:
    kind = "application/octet-stream"
    for size in (1 << 20, 20 << 20):
        text(server, "POST", "/upload", str(size), bytes(size), kind)
    if "baseline-chunked" in server.subject.answers:
        text(server, "POST", "/upload", str(300_000), iter([bytes(100_000)] * 3), kind)


def files(server: Server) -> None:
    """Each file byte by byte, a part of it, and that it has not changed."""
    for name, size in FILE_SIZES.items():
        target, content = f"/files/{name}", (server.files / "files" / name).read_bytes()
        status, _, answer = ask(server, "GET", target)
        if (status, len(answer)) != (200, size) or answer != content:
            raise Wrong(f"GET {target} gave {status} and {len(answer)} bytes")
        status, _, answer = ask(server, "GET", target, headers={"Range": "bytes=5-99"})
        if (status, answer) != (206, content[5:100]):
            raise Wrong(f"GET {target} of a range gave {status} and {len(answer)} bytes")


def compressed(server: Server) -> None:
    target, headers = "/files/items.json", {"Accept-Encoding": "gzip"}
    status, _, answer = ask(server, "GET", target, headers=headers)
    content = (server.files / "files" / "items.json").read_bytes()
    if status != 200 or gzip.decompress(answer) != content:
        raise Wrong(f"GET {target} gave {status} and {len(answer)} bytes")


def close(server: Server) -> None:
    head = f"GET /plaintext HTTP/1.1\r\nHost: {server.host}\r\nConnection: close\r\n\r\n"
    with socket.create_connection((server.host, server.port), timeout=3) as stream:
        stream.sendall(head.encode())
        received = b""
        while part := stream.recv(4096):
            received += part
    if not received.startswith(b"HTTP/1.1 200"):
        raise Wrong("no answer to a request with Connection: close")
