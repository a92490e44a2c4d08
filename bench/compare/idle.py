"""What an idle connection costs the server in memory."""

import socket
import struct
import time

import proc
from server import Server

CONNECTIONS = 10_000
SETTLE_SECONDS = 0.3
REQUEST = b"GET /plaintext HTTP/1.1\r\nHost: localhost\r\n\r\n"


def bytes_per_connection(server: Server) -> dict:
    """Opens the connections, asks once on each, and looks at the server's resident memory.

    An answered connection is the idle one that a server meets: one that has never sent a byte
    would flatter those that allocate on the first.
    """
    wanted = min(CONNECTIONS, server.subject.start.get("idle_connections_max", CONNECTIONS))
    before = proc.memory_kib(server.pids(), "VmRSS")
    streams = []
    try:
        for _ in range(wanted):
            streams.append(connect(server))
        for stream in streams:
            stream.sendall(REQUEST)
        for stream in streams:
            if not stream.recv(4096).startswith(b"HTTP/1.1 200"):
                raise OSError("an idle connection was closed")
        time.sleep(SETTLE_SECONDS)
        after = proc.memory_kib(server.pids(), "VmRSS")
    finally:
        for stream in streams:
            stream.close()
    return {"connections": wanted, "bytes": max(0, after - before) * 1024 / wanted}


def connect(server: Server) -> socket.socket:
    stream = socket.create_connection((server.host, server.port), timeout=30)
    # A reset at the end: ten thousand connections in TIME_WAIT would disturb the next run.
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return stream
