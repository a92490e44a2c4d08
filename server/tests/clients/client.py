"""Drives a server with one of Python's clients: client.py LIBRARY URL.

Every exchange goes over one client, which may keep its connection. The first surprise ends the
program with status 1 and says what it was.
"""

import asyncio
import sys
from urllib.parse import urlsplit

BODY = b"0123456789abcdef" * 65536


def pieces():
    """The body in pieces, whose length nobody knows beforehand."""
    for start in range(0, len(BODY), 50_000):
        yield BODY[start : start + 50_000]


# Method, path, what makes the body, status, content.
EXCHANGES = [
    ("GET", "/", None, 200, b"ok"),
    ("GET", "/", None, 200, b"ok"),
    ("HEAD", "/large", None, 200, b""),
    ("POST", "/echo", lambda: BODY, 200, BODY),
    ("POST", "/echo", pieces, 200, BODY),
    ("POST", "/echo", lambda: b"", 200, b""),
    ("GET", "/large", None, 200, b"x" * (1 << 20)),
    ("GET", "/stream", None, 200, b"piece " * 100),
    ("GET", "/none", None, 404, None),
    ("GET", "/", None, 200, b"ok"),
]


# Those that can send a form with a file.
FORMS = [
    (
        "POST",
        "/form",
        lambda: {"data": {"k": "v w"}, "files": {"f": ("a b.bin", BODY, "x/y")}},
        200,
        b"k: 3, f (a b.bin, x/y): 1048576",
    ),
]


def check(library, exchange, status, content):
    method, path, _, expected_status, expected = exchange
    if status != expected_status or (expected is not None and content != expected):
        sys.exit(f"{library}: {method} {path}: {status}, {len(content)} bytes: {content[:100]}")


def http_client(url):
    import http.client

    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)

    def ask(method, path, body):
        connection.request(method, path, body=body)
        response = connection.getresponse()
        return response.status, response.read()

    return ask


def requests(url):
    import requests

    session = requests.Session()

    def ask(method, path, body):
        content = body if isinstance(body, dict) else {"data": body}
        response = session.request(method, url + path, timeout=30, **content)
        return response.status_code, response.content

    return ask


def httpx(url):
    import httpx

    client = httpx.Client(timeout=30)

    def ask(method, path, body):
        content = body if isinstance(body, dict) else {"content": body}
        response = client.request(method, url + path, **content)
        return response.status_code, response.content

    return ask


async def aiohttp(url):
    import aiohttp

    async def streamed(body):
        for piece in body:
            yield piece

    async with aiohttp.ClientSession() as session:
        for exchange in EXCHANGES:
            method, path, make, _, _ = exchange
            body = make and make()
            data = streamed(body) if make is pieces else body
            async with session.request(method, url + path, data=data) as response:
                check("aiohttp", exchange, response.status, await response.read())


def main():
    library, url = sys.argv[1:]
    if library == "aiohttp":
        return asyncio.run(aiohttp(url))
    ask = {"http.client": http_client, "requests": requests, "httpx": httpx}[library](url)
    forms = FORMS if library in ("requests", "httpx") else []
    for exchange in EXCHANGES + forms:
        method, path, make, _, _ = exchange
        check(library, exchange, *ask(method, path, make and make()))


main()
