"""An upstream that does what a test tells it: real HTTP on a real socket, and every way of getting it wrong."""

import contextlib
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

RESET, CLOSE, HOLD = "reset", "close", "hold"
"""Steps beside bytes and pauses in seconds: cut the connection hard, close it, wait until the client leaves."""
Step = bytes | float | str


@dataclass
class Asked:
    """A request, as it came."""

    path: str
    headers: dict[str, str]
    body: dict
    """Its JSON; empty where it is sent as something else."""
    raw: bytes
    at: float = field(default_factory=time.monotonic)
    was_left: bool = False
    """Whether the client went before it had all of the answer."""


def head(status=200, kind="application/json", **headers):
    lines = [f"HTTP/1.1 {status} X", f"content-type: {kind}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines)


def plain(body, status=200, kind="application/json", **headers) -> list[Step]:
    """A whole answer."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return [f"{head(status, kind, **headers)}\r\ncontent-length: {len(data)}\r\n\r\n".encode() + data]


def piece(data: bytes) -> bytes:
    """Bytes as one chunk of a chunked answer."""
    return b"%x\r\n%s\r\n" % (len(data), data)


END = b"0\r\n\r\n"
STREAM = f"{head(kind='text/event-stream')}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
DONE = b"data: [DONE]\n\n"


def event(body) -> bytes:
    return b"data: " + (body if isinstance(body, bytes) else json.dumps(body).encode()) + b"\n\n"


def delta(content=None, index=0, finish=None, **more):
    """A chunk of one choice."""
    said = {**({} if content is None else {"content": content}), **more}
    return {"id": "x", "object": "chat.completion.chunk", "choices": [choice(index, finish, delta=said)]}


def choice(index, finish, **more):
    return {"index": index, "finish_reason": finish, **more}


def usage(prompt=5, completion=3, **details):
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion, **details}


def stream(*events, done=True) -> list[Step]:
    """A stream: each event in a packet of its own."""
    steps: list[Step] = [STREAM, *(piece(one if isinstance(one, bytes) else event(one)) for one in events)]
    return [*steps, piece(DONE) + END] if done else steps


def said(text="Hello!", finish="stop", **more) -> dict:
    """A whole answer's body."""
    message = {"role": "assistant", "content": text, **more}
    return {"id": "x", "object": "chat.completion", "choices": [choice(0, finish, message=message)], "usage": usage()}


def usual(asked: Asked) -> list[Step]:
    """What a server does that gets everything right."""
    if not asked.body.get("stream"):
        return plain(said())
    last = {"choices": [], "usage": usage()}
    return stream(delta("", role="assistant"), delta("Hello"), delta("!"), delta(finish="stop"), last)


class MockUpstream:
    """Listens until its end; `cue` says what becomes of a chat request."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.asked: list[Asked] = []
        self.looked: list[Asked] = []
        """Who asked for the models."""
        self.cue: Callable[[Asked], Iterable[Step]] = usual
        self.models: Iterable[Step] = plain({"object": "list", "data": [{"id": "there", "owned_by": "mock"}]})
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/v1"

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def play(self, *steps: Step):
        """Answer every request alike; what was asked before is forgotten."""
        self.asked.clear()
        self.cue = lambda _: steps

    def _listen(self):
        while True:
            try:
                link, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(link,), daemon=True).start()

    def _serve(self, accepted: socket.socket):
        with contextlib.suppress(OSError, ValueError), self._secured(accepted) as link:
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            file = link.makefile("rb")
            while asked := self._read(file):
                if asked.path.endswith("/models"):
                    self.looked.append(asked)
                    steps = self.models
                else:
                    self.asked.append(asked)
                    steps = self.cue(asked)
                try:
                    goes_on = self._play(link, iter(steps), asked)
                except ConnectionError:  # What it had not read yet makes its going a reset.
                    asked.was_left, goes_on = True, False
                if not goes_on:
                    return

    def _secured(self, link: socket.socket) -> socket.socket:
        return self._tls.wrap_socket(link, server_side=True) if self._tls else link

    @staticmethod
    def _read(file) -> Asked | None:
        line = file.readline()
        if not line:
            return None
        headers = {}
        while (header := file.readline().strip()) != b"":
            name, _, value = header.partition(b":")
            headers[name.decode().lower()] = value.strip().decode()
        body = file.read(int(headers.get("content-length", 0)))
        while headers.get("transfer-encoding") == "chunked" and (size := int(file.readline(), 16)):
            body += file.read(size + 2)[:-2]
        if headers.get("transfer-encoding") == "chunked":
            file.readline()
        is_json = headers.get("content-type") == "application/json"
        return Asked(line.split()[1].decode(), headers, json.loads(body) if is_json and body else {}, body)

    def _play(self, link: socket.socket, steps: Iterator[Step], asked: Asked) -> bool:
        for step in steps:
            match step:
                case bytes():
                    link.sendall(step)
                case "reset":
                    link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    return False
                case "close":
                    return False
                case "hold":
                    link.settimeout(60)
                    asked.was_left = not link.recv(1)
                    return False
                case _:
                    time.sleep(float(step))
        return True
