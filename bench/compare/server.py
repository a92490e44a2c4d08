"""One running server: started, waited for, measured and stopped."""

import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import proc
from place import Place, fill, free_port
from subject import Subject

START_SECONDS_MAX = 30
STOP_SECONDS_MAX = 3
# A profiler writes its file at the end.
STOP_SECONDS_MAX_UNDER = 60
GREETING = b"GET /plaintext HTTP/1.1\r\nHost: localhost\r\n\r\n"


class StartError(Exception):
    """The server did not answer in time; the text is the end of what it wrote."""


class Server:
    """A subject that answers on an address of its own, pinned to the server's CPU."""

    def __init__(self, subject: Subject, place: Place, under=()):
        """`under` are the words of a program that runs the server, such as a profiler."""
        self.subject = subject
        self.is_under = bool(under)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"peer-{subject.name}-"))
        self.files = place.files()
        self.host, self.port = place.host, free_port(place.host)
        values = place.values(subject.name, self.port, self.folder)
        for name in subject.start.get("templates", []):
            text = (subject.folder / name).read_text()
            (self.folder / name).write_text(fill(text, values))
        words = [fill(word, values) for word in subject.start["command"]]
        self.command = ["taskset", "--cpu-list", str(place.server_cpu), *under, *words]
        extra = subject.start.get("environment", {})
        self.environment = {name: fill(value, values) for name, value in extra.items()}
        self.startup_ms = 0.0

    def __enter__(self) -> "Server":
        self.log = open(self.folder / "output.log", "wb")
        begin = time.perf_counter()
        # A session of its own makes a process group of its own: that is what is counted and ended.
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
            env={**os.environ, **self.environment}, cwd=self.folder, start_new_session=True,
        )  # fmt: skip
        try:
            self.wait(begin + START_SECONDS_MAX)
        except StartError:
            self.__exit__()
            raise
        self.startup_ms = (time.perf_counter() - begin) * 1000
        return self

    def __exit__(self, *_) -> None:
        self.end(signal.SIGTERM)
        try:
            self.wait_for_end()
        except subprocess.TimeoutExpired:
            pass
        self.end(signal.SIGKILL)
        self.process.wait()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def end(self, number: int) -> None:
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass

    def wait_for_end(self) -> None:
        if not self.is_under:
            self.process.wait(STOP_SECONDS_MAX)
            return
        # Under valgrind, a thread that waits in io_uring_enter(2) lets no other thread run: not
        # the one either that has to see the signal. Each connection gets it out of there.
        deadline = time.monotonic() + STOP_SECONDS_MAX_UNDER
        while self.process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                socket.create_connection((self.host, self.port), timeout=1).close()
            time.sleep(0.01)

    def wait(self, deadline: float) -> None:
        """Until the first answer."""
        while time.perf_counter() < deadline:
            try:
                with socket.create_connection((self.host, self.port), timeout=1) as stream:
                    stream.sendall(GREETING)
                    if stream.recv(12).startswith(b"HTTP/1.1 200"):
                        return
            except OSError:
                pass
            if self.process.poll() is not None:
                raise StartError(f"ended with status {self.process.returncode}: {self.words()}")
            time.sleep(0.001)
        raise StartError(f"no answer within {START_SECONDS_MAX} s: {self.words()}")

    def words(self) -> str:
        """The last line that it wrote."""
        lines = (self.folder / "output.log").read_text(errors="replace").strip().splitlines()
        return lines[-1][:200] if lines else "it wrote nothing"

    def is_running(self) -> bool:
        return self.process.poll() is None

    def pids(self) -> list:
        return proc.group(self.process.pid)

    def url(self, target: str) -> str:
        return f"http://{self.host}:{self.port}{target}"
