"""One engine child from the server's side: its process, the socket to it, and the calls it is running."""

import math
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import anyio
import msgspec
import structlog
from anyio import CancelScope
from anyio.abc import Process, SocketStream, TaskGroup
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from antiphon.domain.errors import BodyTooLarge, EngineFailed
from antiphon.engines.llamacpp.protocol import (
    Ask,
    Cancel,
    Ended,
    Frames,
    FromChild,
    Ready,
    Said,
    Start,
    State,
    TooLarge,
    frame,
)

SPIN_COUNT = "0"
"""GOMP_SPINCOUNT: how long OpenMP's idle threads burn a core before they sleep. Measured in docs/threads.md."""
DEFAULT_BATCH_TOKENS = 64
"""From 64 tokens on llama.cpp's attention works in tiles, which reads long prompts 1.6 times as fast; more than that
gains nothing on a CPU, and makes everybody who arrives wait longer. See docs/decisions/0004-embedded-engine.md."""
LOAD_S = 600.0
"""How long a child may take to load its weights."""
SEND_S = 20.0
"""How long a child may take to read one message, of 128 MB at most, before it counts as hung and is ended."""
STOP_S = 2.0
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONPATH", "ANTIPHON_LLAMA_LIBRARY")
"""What the child gets of the environment: nothing that could be a secret."""

_log = structlog.get_logger()
_decoder = msgspec.msgpack.Decoder(Said)


@dataclass(frozen=True, slots=True)
class Options:
    """How one version is run. Sizes are in tokens; None takes the default."""

    model: str
    """For log lines."""
    weights: Path
    run_dir: Path
    """A private directory (0700) for the socket."""
    slots: int
    context_tokens: int | None = None
    """None: what the model was trained on."""
    threads: int | None = None
    """For a step of one token; None: half of what the system counts."""
    batch_threads: int | None = None
    """For every larger one; None: as `threads` where that is given, else all of them."""
    batch_tokens: int | None = None
    kv_tokens: int | None = None
    """What all running sequences together may hold; None: twice the context."""
    mmproj: Path | None = None
    """The projector, for a model that sees."""
    prefix_tokens: int | None = None
    """What is remembered of ended ones; None: as many."""


class Child:
    """A running child that has said it is ready."""

    def __init__(self, process: Process, socket: SocketStream, ready: Ready) -> None:
        self.process, self._socket = process, socket
        self.ready = ready
        self._lock = anyio.Lock(fast_acquire=True)
        self._calls: dict[bytes, MemoryObjectSendStream[FromChild]] = {}
        self._ended: dict[bytes, anyio.Event] = {}
        self._states: list[MemoryObjectSendStream[State]] = []

    # -- calls

    def begin(self, call_id: bytes) -> MemoryObjectReceiveStream[FromChild]:
        """Register a call; give the stream its messages will come by, which ends if the child dies."""
        send, receive = anyio.create_memory_object_stream[FromChild](math.inf)
        self._calls[call_id], self._ended[call_id] = send, anyio.Event()
        return receive

    async def send(self, message: Start | Cancel | Ask) -> None:
        """Send a message. Shielded: half a frame would spoil every other call.

        Raises:
            EngineFailed: the child is gone.
            BodyTooLarge: it is larger than the child would read.
        """
        try:
            framed = frame(message)
        except TooLarge:
            what = "The pictures and sounds of the messages are too large together."
            raise BodyTooLarge(what, param="messages") from None
        with CancelScope(shield=True):
            async with self._lock:
                await self._push(framed)

    async def _push(self, framed: bytes) -> None:
        try:
            with anyio.fail_after(SEND_S):
                await self._socket.send(framed)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise EngineFailed("The engine stopped.") from error
        except TimeoutError as error:
            # It lives and reads nothing: nobody could be answered, and those who wait here cannot even be cancelled.
            with suppress(ProcessLookupError):
                self.process.kill()
            raise EngineFailed("The engine stopped.") from error

    async def stop(self, call_id: bytes) -> None:
        """Stop what still runs for a call; return when nothing does."""
        ended = self._ended.get(call_id)
        if ended is None or ended.is_set():
            return
        try:
            await self.send(Cancel(call_id))
        except EngineFailed:
            return
        await ended.wait()

    def forget(self, call_id: bytes) -> None:
        """Drop a call's registration."""
        self._ended.pop(call_id, None)
        if stream := self._calls.pop(call_id, None):
            stream.close()

    async def ask(self) -> State:
        """Ask what it is doing.

        Raises:
            EngineFailed: the child is gone.
        """
        send, receive = anyio.create_memory_object_stream[State](1)
        self._states.append(send)
        with receive:
            await self.send(Ask())
            try:
                return await receive.receive()
            except anyio.EndOfStream as error:
                raise EngineFailed("The engine stopped.") from error

    # -- its life

    async def listen(self) -> None:
        """Hand out what the child says until its connection ends; then end every call."""
        frames = Frames()
        try:
            while True:
                for body in frames.feed(await self._socket.receive(1 << 18)):
                    for message in _decoder.decode(body).messages:
                        self._hand_out(message)
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass
        finally:
            self._lose_all()

    def _hand_out(self, message: FromChild) -> None:
        if isinstance(message, State):
            with self._states.pop(0) as waiting:
                waiting.send_nowait(message)
        elif not isinstance(message, Ready) and (stream := self._calls.get(message.id)):
            if isinstance(message, Ended):
                self._ended[message.id].set()
            # A reader that has left waits for Ended only.
            with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                stream.send_nowait(message)

    def _lose_all(self) -> None:
        for ended in self._ended.values():
            ended.set()
        for call in self._calls.values():
            call.close()
        for state in self._states:
            state.close()
        self._states.clear()


@asynccontextmanager
async def launch(options: Options, group: TaskGroup) -> AsyncGenerator[Child]:
    """Start a child and wait until it is ready; the body's end kills it.

    Args:
        options: what to run.
        group: runs the task that passes the child's log lines on.

    Raises:
        EngineFailed: it cannot run; the message is its own line on why.
    """
    path = options.run_dir / f"{os.getpid()}-{os.urandom(4).hex()}.sock"
    process = await anyio.open_process(
        [sys.executable, "-m", "antiphon.engines.llamacpp.worker", _arguments(options, path)], env=_environment()
    )
    try:
        group.start_soon(_pass_on_log, process, options.model)
        await _until_ready(process)
        async with await anyio.connect_unix(path) as socket:
            yield Child(process, socket, await _greeting(socket))
    finally:
        with CancelScope(shield=True):
            await _end(process)
        path.unlink(missing_ok=True)


def _arguments(options: Options, path: Path) -> str:
    values = {
        "weights": str(options.weights),
        "socket": str(path),
        "parent": os.getpid(),
        "slots": options.slots,
        "threads": options.threads or default_threads(),
        "batch_threads": options.batch_threads or options.threads or os.cpu_count() or 1,
        "batch_tokens": options.batch_tokens or DEFAULT_BATCH_TOKENS,
        "context_tokens": options.context_tokens,
        "kv_tokens": options.kv_tokens,
        "prefix_tokens": options.prefix_tokens,
        "mmproj": str(options.mmproj) if options.mmproj else None,
    }
    return msgspec.json.encode(values).decode()


def default_threads() -> int:
    """Give the number of threads for one token: half of what the system counts; docs/threads.md says why."""
    return max(1, (os.cpu_count() or 1) // 2)


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    # Without the first, a fault in llama.cpp starts a debugger before it ends the process.
    return kept | {"GGML_NO_BACKTRACE": "1", "GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", SPIN_COUNT)}


async def _until_ready(process: Process) -> None:
    assert process.stdout is not None  # noqa: S101 - open_process pipes it
    line = b""
    with anyio.move_on_after(LOAD_S):
        try:
            line = await BufferedByteReceiveStream(process.stdout).receive_until(b"\n", 4096)
        except anyio.IncompleteRead:
            line = b"failed the engine process ended while it was loading"
    verdict, _, why = line.decode("utf-8", "replace").partition(" ")
    if verdict != "ready":
        raise EngineFailed(why or f"the engine was not ready after {LOAD_S:.0f} s")


async def _greeting(socket: SocketStream) -> Ready:
    frames = Frames()
    while True:
        for body in frames.feed(await socket.receive()):
            for message in _decoder.decode(body).messages:
                if isinstance(message, Ready):
                    return message


async def _pass_on_log(process: Process, model: str) -> None:
    assert process.stderr is not None  # noqa: S101 - open_process pipes it
    rest = b""
    with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
        async for data in process.stderr:
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                _log.warning("engine", model=model, line=line.decode("utf-8", "replace")[:500])
            rest = rest[-4096:]


async def _end(process: Process) -> None:
    """Close the child's input, which ends it; kill it if that is not enough."""
    if process.stdin is not None:
        await process.stdin.aclose()
    with anyio.move_on_after(STOP_S):
        await process.wait()
    if process.returncode is None:
        process.kill()
    await process.aclose()
