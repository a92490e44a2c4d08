"""Peers that send a head one byte at a time, as a program of its own: `slow.py HOST PORT COUNT`."""

import itertools
import socket
import sys
import time

PAUSE_SECONDS = 0.05
HEAD = b"GET /plaintext HTTP/1.1\r\nHost: localhost\r\nX-Slow: "


def main() -> None:
    host, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    peers = [None] * count
    print("ready", flush=True)
    for turn in itertools.count():
        for index, peer in enumerate(peers):
            peers[index] = drip(peer or connect(host, port), turn)
        time.sleep(PAUSE_SECONDS)


def connect(host: str, port: int) -> socket.socket | None:
    try:
        peer = socket.create_connection((host, port), timeout=5)
        peer.setblocking(False)
    except OSError:
        return None
    return peer


def drip(peer: socket.socket | None, turn: int) -> socket.socket | None:
    """One more byte; a peer that the server has closed is replaced at the next turn."""
    if peer is None:
        return None
    byte = HEAD[turn : turn + 1] or b"a"
    try:
        peer.send(byte)
    except OSError:
        peer.close()
        return None
    return peer


if __name__ == "__main__":
    main()
