"""The engine child: everything that touches native code, alone in a process that may die without taking others along.

Run as `python -m antiphon.engines.llamacpp.worker '<options as JSON>'`. It listens on a unix socket in a directory that
only its user may enter, says `ready` on stdout, logs to stderr, and dies with its parent: by the kernel's parent-death
signal where there is one, and by its standard input closing everywhere.
"""

import os
import selectors
import signal
import socket
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from antiphon.engines.llamacpp.binding import LibraryUnfit, ModelUnfit, library_path, load
from antiphon.engines.llamacpp.connection import Connection
from antiphon.engines.llamacpp.drafts import MOST
from antiphon.engines.llamacpp.log import ERROR, log
from antiphon.engines.llamacpp.loop import Loop, Room
from antiphon.engines.llamacpp.model import Sizes, Weights
from antiphon.engines.llamacpp.mtmd import Projector
from antiphon.engines.llamacpp.preparing import Preparer
from antiphon.engines.llamacpp.protocol import (
    Ask,
    Cancel,
    Ended,
    FromChild,
    NotUnderstood,
    Ready,
    Start,
    ToChild,
    understood,
)
from antiphon.engines.llamacpp.request import Request
from antiphon.engines.llamacpp.senses import Senses, Taken
from antiphon.engines.llamacpp.sensing import Sensing
from antiphon.engines.llamacpp.template import ChatTemplate, TemplateRefused
from antiphon.orphan import end_with

KNOBS = ("enable_thinking", "reasoning_effort", "verbosity")
"""Variables that some templates have."""
UNSENT_S = 0.1
"""How soon an idle worker tries again to send what a full socket did not take."""


class ChildOptions(msgspec.Struct, frozen=True):
    """How a child runs; every size is in tokens."""

    weights: str
    socket: str
    parent: int
    slots: int
    threads: int
    batch_threads: int
    batch_tokens: int
    context_tokens: int | None = None
    kv_tokens: int | None = None
    prefix_tokens: int | None = None
    mmproj: str | None = None
    """The projector of a model that sees or hears."""


Item = Request | Connection | tuple[Connection, FromChild | Cancel]
"""From the other threads to the loop's: a prompt made, a connection lost, something to tell or to cancel."""


class Worker:
    """The child's two kinds of thread: the loop's own, and those that listen, take media in and make prompts."""

    def __init__(self, options: ChildOptions) -> None:
        """Load everything and check it.

        Raises:
            LibraryUnfit, ModelUnfit, TemplateRefused: with one line that says what is wrong.
        """
        library = load(library_path(), log)
        weights = Weights(library, Path(options.weights))
        context_tokens = min(options.context_tokens or weights.trained_context, weights.trained_context)
        cells = max(options.kv_tokens or 2 * context_tokens, context_tokens)
        senses = _senses(weights, options)
        sequences = max(2, options.slots)
        batch = max(options.batch_tokens, senses.most_at_once if senses else 1)
        # llama.cpp ends the process where there are fewer than sequences.
        outputs = max(sequences, min(options.batch_tokens, sequences + MOST))
        context = weights.context(Sizes(cells, batch, sequences, outputs, options.threads, options.batch_threads))
        vocabulary = weights.vocabulary
        context.check(vocabulary.tokenize("The quick brown fox jumps over the lazy dog.", control=False))
        names = {"bos": vocabulary.text(vocabulary.bos), "eos": vocabulary.text(vocabulary.eos)}
        template = ChatTemplate(weights.chat_template(), **names)
        self._preparer = Preparer(vocabulary, template, context_tokens)
        self._prompts = ThreadPoolExecutor(1, "prompts")
        self._sensing = Sensing(senses, self._make, self._refuse) if senses else None
        prefix_tokens = cells if options.prefix_tokens is None else options.prefix_tokens
        room = Room(options.slots, context_tokens, prefix_tokens, options.batch_tokens)
        self._loop = Loop(context, vocabulary, room, self._tell)
        self._ready = Ready(
            context_tokens,
            vocabulary.size,
            os.getpid(),
            template.calls,
            template.thinking,
            tuple(knob for knob in KNOBS if template.mentions(knob)),
            sees=senses is not None and senses.sees,
            hears=senses is not None and senses.hears,
        )
        self._inbox: deque[Item] = deque()
        self._awake = threading.Event()
        self._connections: set[Connection] = set()

    def listen(self, path: str) -> None:
        """Take connections on a unix socket, from a thread of its own."""
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        server.bind(path)
        server.listen()
        threading.Thread(target=_vital, args=(self._read, server), name="read", daemon=True).start()

    def run(self) -> None:
        """Turn the crank for ever; whatever comes out of it ends the process."""
        while True:
            self._take()
            busy = self._loop.step()
            self._flush()
            if not busy and not self._inbox:
                has_unsent = any(connection.unsent for connection in self._connections)
                self._awake.wait(UNSENT_S if has_unsent else None)
                self._awake.clear()

    # -- the loop's thread

    def _take(self) -> None:
        while self._inbox:
            item = self._inbox.popleft()
            match item:
                case Request():
                    if item.connection in self._connections:
                        self._loop.add(item)
                case Connection():
                    self._lose(item)
                case connection, Cancel(id=request_id):
                    if not self._loop.cancel(request_id):
                        self._tell(connection, Ended(request_id))
                case connection, message:
                    self._tell(connection, message)

    def _tell(self, connection: Hashable, message: FromChild) -> None:
        if isinstance(connection, Connection):
            if isinstance(message, Ready):
                self._connections.add(connection)
            if isinstance(message, Ended):
                connection.requests.discard(message.id)
            connection.said.append(message)

    def _flush(self) -> None:
        for connection in list(self._connections):
            try:
                connection.flush()
            except OSError:
                self._lose(connection)

    def _lose(self, connection: Connection) -> None:
        """Stop everything a server that is gone had asked for."""
        self._connections.discard(connection)
        for request_id in list(connection.requests):
            self._cancel(request_id)

    # -- the reading thread

    def _read(self, server: socket.socket) -> None:
        selector = selectors.DefaultSelector()
        selector.register(server, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is server:
                    link, _ = server.accept()
                    link.settimeout(0)
                    selector.register(link, selectors.EVENT_READ, connection := Connection(link))
                    self._post((connection, self._ready))
                elif not self._receive(key.data):
                    selector.unregister(key.fileobj)
                    # A server that is there and was not understood must see that nobody listens any more.
                    key.data.link.close()
                    self._post(key.data)

    def _receive(self, connection: Connection) -> bool:
        """Take what a server says; False when it is gone or is no server of ours."""
        try:
            data = connection.link.recv(1 << 20)
            for body in connection.frames.feed(data):
                try:
                    self._handle(connection, understood(body))
                except NotUnderstood as unfit:
                    self._refuse(connection, Ended(unfit.request_id, "failed", "The engine did not understand this."))
        except (OSError, ValueError, msgspec.MsgspecError):
            return False
        return bool(data)

    def _handle(self, connection: Connection, message: ToChild) -> None:
        match message:
            case Start():
                connection.requests.add(message.id)
                if self._sensing and any(turn.media for turn in message.turns):
                    self._sensing.add(connection, message)
                else:
                    self._make(connection, message)
            case Cancel():
                if not self._cancel(message.id):
                    # Its prompt is still being made: that is one thread, so this comes out behind it.
                    self._prompts.submit(self._post, (connection, message))
            case Ask():
                self._post((connection, self._loop.state))
        self._awake.set()

    def _cancel(self, request_id: bytes) -> bool:
        """Stop a request that runs, or waits for its pictures."""
        return self._loop.cancel(request_id) or (self._sensing is not None and self._sensing.cancel(request_id))

    def _make(self, connection: Connection, start: Start, taken: Sequence[Sequence[Taken]] = ()) -> None:
        self._prompts.submit(self._prepare, connection, start, taken)

    def _refuse(self, connection: Connection, ended: Ended) -> None:
        self._post((connection, ended))

    def _post(self, item: Item) -> None:
        self._inbox.append(item)
        self._awake.set()

    # -- the prompt thread

    def _prepare(self, connection: Connection, start: Start, taken: Sequence[Sequence[Taken]]) -> None:
        """Make a request's prompt, and hand it to the loop or say why not."""
        try:
            prepared = self._preparer.prepare(connection, start, taken)
        except Exception as error:  # noqa: BLE001 - a prompt thread that dies would leave every later request waiting
            log(ERROR, f"a prompt could not be made: {type(error).__name__}")
            prepared = Ended(start.id, "failed", "The prompt could not be made.")
        self._post(prepared if isinstance(prepared, Request) else (connection, prepared))


def _senses(weights: Weights, options: ChildOptions) -> Senses | None:
    """Load the projector, if there is one."""
    if not options.mmproj:
        return None
    path, threads = Path(options.mmproj), options.batch_threads
    return Senses(Projector(weights.library, weights.handle, path, threads, log))


def _vital(work: Callable[..., None], *given: object) -> None:
    """Do what this process cannot go on without."""
    try:
        work(*given)
    except BaseException:  # noqa: BLE001 - whatever it was, the state is unknown: end, and be started again
        log(ERROR, traceback.format_exc())
        os._exit(1)


def main() -> None:
    """Run the child until its parent is gone."""
    options = msgspec.json.decode(sys.argv[1], type=ChildOptions)
    end_with(options.parent)
    # The terminal sends Ctrl-C to the whole group; the server decides when its engines end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        worker = Worker(options)
        worker.listen(options.socket)
    except (LibraryUnfit, ModelUnfit, TemplateRefused, OSError) as error:
        sys.stdout.write(f"failed {error}\n")
        sys.exit(1)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    _vital(worker.run)


if __name__ == "__main__":
    main()
