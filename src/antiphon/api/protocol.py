"""HTTP/1.1 on one connection: httptools' parser under limits, and its requests answered one after the other.

The parser takes headers of any size, and neither it nor a transport minds how slow a client is: how much one may send,
and how long it may take to send and to read, is seen to here. uvicorn's server holds the connections and their tasks.
"""

import asyncio  # noqa: TID251 - an asyncio protocol
import socket
from collections import deque

import httptools
from uvicorn._types import ASGIVersions, HTTPScope
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.utils import get_local_addr, get_remote_addr
from uvicorn.server import ServerState

from antiphon.api.deadline import Deadline
from antiphon.api.exchange import Connection, Endpoint, Exchange, refused
from antiphon.api.heads import HEADER_BYTES, TARGET_BYTES, Header, judged, target_of, without_upgrade
from antiphon.api.idle import Idle
from antiphon.api.unread import Unread
from antiphon.domain.errors import AntiphonError, HeadersTooLarge, MalformedHttp

HEADERS_S = 10.0
"""How long a client may take to send its headers, and to begin at all."""
BODY_S = 60.0
"""How long it may take to send its body."""
KEEP_ALIVE_S = 75.0
"""How long an idle connection is kept: longer than most proxies do, so that they close first."""
MOST_AHEAD = 8
"""Requests a client may send ahead of its answers; nobody's does."""
MOST_FRAMING = 16
"""Bytes of chunked framing for one of body. A chunk of one byte takes five."""
PROBE_S = 0.03
"""How soon after a probe its effect is looked at: on one machine a reset comes back at once."""
PROBE_AGAIN_S = 0.25

_ASGI: ASGIVersions = {"version": "3.0", "spec_version": "2.3"}
_PROCESSING = b"HTTP/1.1 102 Processing\r\n\r\n"


class _Refused(Exception):
    """Raised inside the parser's callbacks to stop it."""


class Protocol(asyncio.Protocol):
    """One connection."""

    def __init__(self, app: Endpoint, idle: Idle, state: ServerState, loop: asyncio.AbstractEventLoop) -> None:
        self._app, self._idle, self._state, self._loop = app, idle, state, loop
        self._parser = httptools.HttpRequestParser(self)
        # An answer to the first of several requests may close the connection: what comes behind it is no error.
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._refusal: AntiphonError | None = None
        """Why the parser was stopped; None where it stopped by itself."""
        self._receiving = Deadline(loop, self._too_late)
        self._probing: asyncio.TimerHandle | None = None
        self._exchanges: deque[Exchange] = deque()
        """The requests that are not answered to their end, in their order; the first one is being answered."""
        self._has_shut = False
        """Whether the client has stopped sending."""
        self._in_head = True
        self._patience_s: float | None = HEADERS_S
        """How long what is being received may take; None when nothing is."""
        self._is_new = True
        """Whether that counts from now on."""
        self._head_bytes = self._sent_bytes = self._body_bytes = 0
        """Of the current request: its head, what came behind that, and what of it was body."""
        self._target = b""
        self._headers: list[Header] = []
        self._incoming: Exchange
        """The request whose body is being received."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a request."""
        self._state.connections.add(self)  # type: ignore[arg-type]  # it is told to shut down, and nothing else
        self._connection = Connection(transport, FlowControl(transport), self._state, self._answered)
        self._server, self._client = get_local_addr(transport), get_remote_addr(transport)
        self._unread = Unread(self._loop, transport)
        self._receiving.set(HEADERS_S)
        self._idle.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever is at work for this client."""
        self._state.connections.discard(self)
        self._idle.discard(self)
        self._receiving.stop()
        self._unread.stop()
        if self._probing:
            self._probing.cancel()
        self._disconnect()
        self._exchanges.clear()
        self._connection.flow.resume_writing()
        del self._parser  # It holds this connection, as this does it.

    def _disconnect(self) -> None:
        """Tell every request that is not answered yet that its client is gone."""
        for exchange in self._exchanges:
            exchange.disconnect()

    def shutdown(self) -> None:
        """Take no more requests; uvicorn's server calls this when it ends."""
        if self._exchanges:
            self._exchanges[-1].keep_alive = False
        else:
            self.close()

    def close(self) -> None:
        """Close it in order: once its client has read all that was said, or is found not to read it."""
        self._connection.transport.close()
        if self._connection.transport.get_write_buffer_size():
            self._unread.watch()

    # -- time

    def _cut(self) -> None:
        """Close a connection whose client is too slow."""
        self._connection.transport.abort()

    def _too_late(self) -> None:
        """Close one whose client was, or has nothing more to ask."""
        if self._patience_s is None:
            self.close()
        else:
            self._cut()

    def pause_writing(self) -> None:
        """Wait for a client that leaves much unread."""
        self._connection.flow.pause_writing()
        self._unread.watch()

    def resume_writing(self) -> None:
        """Go on; to the end of what is left, where nothing comes behind it."""
        if not self._connection.transport.is_closing():
            self._unread.clear()
        self._connection.flow.resume_writing()

    # -- what is received

    def data_received(self, data: bytes) -> None:
        """Read the next bytes."""
        is_head = self._in_head or self._patience_s is None  # the next request's
        try:
            self._parser.feed_data(without_upgrade(data) if is_head else data)
        except httptools.HttpParserError:
            self._refuse()
            return
        except httptools.HttpParserUpgrade:
            pass
        if self._connection.transport.is_closing():
            return
        if not self._is_new:  # What a head or a body began in may be for the most part something else.
            self._head_bytes += len(data) if self._in_head else 0
            self._sent_bytes += 0 if self._in_head else len(data)
        framing = self._sent_bytes - MOST_FRAMING * self._body_bytes
        if self._head_bytes > HEADER_BYTES + TARGET_BYTES or framing > HEADER_BYTES:
            self._refusal = HeadersTooLarge(f"The headers are larger than {HEADER_BYTES} bytes.")
            self._refuse()
        else:
            self._set_deadline()

    def _set_deadline(self) -> None:
        """Give a client its time for what it has begun to send, or for the next request."""
        is_new, self._is_new = self._is_new, False
        if self._patience_s is not None:
            if is_new:
                self._receiving.set(self._patience_s)
        elif not self._exchanges:  # an empty line, which begins nothing, or the end of what was answered before it came
            self._receiving.hasten(HEADERS_S)

    def on_message_begin(self) -> None:
        """Begin to receive a request. This and what follows is called by the parser."""
        self._idle.discard(self)
        self._in_head, self._patience_s, self._is_new = True, HEADERS_S, True
        self._head_bytes = self._sent_bytes = self._body_bytes = 0
        self._target, self._headers = b"", []

    def on_url(self, url: bytes) -> None:
        """Take a piece of its target."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        # What comes behind the body was never judged, so it is not read.
        if self._in_head:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Have a request answered once it is its turn; its body comes as it may."""
        self._in_head = False
        parser, headers = self._parser, self._headers
        version, first = parser.get_http_version(), dict(reversed(headers))
        if refusal := judged(self._target, headers, first, version):
            self._refusal = refusal
            raise _Refused
        self._patience_s, self._is_new = BODY_S, True
        scope: HTTPScope = {
            "type": "http",
            "asgi": _ASGI,
            "http_version": version,
            "server": self._server,
            "client": self._client,
            "scheme": "http",
            "root_path": "",
            "method": parser.get_method().decode("ascii"),
            **target_of(self._target),  # type: ignore[typeddict-item]  # it takes no extensions
            "headers": headers,
            "state": {},
        }
        keep_alive = version != "1.0" and parser.should_keep_alive()
        self._incoming = exchange = Exchange(scope, first, self._connection, keep_alive=keep_alive)
        self._exchanges.append(exchange)
        if len(self._exchanges) == 1:
            self._start(exchange)
        elif len(self._exchanges) > MOST_AHEAD + 1:
            self._cut()

    def on_body(self, body: bytes) -> None:
        """Take a piece of its body."""
        self._body_bytes += len(body)
        if self._incoming.take(body) > HIGH_WATER_LIMIT:
            self._connection.flow.pause_reading()

    def on_message_complete(self) -> None:
        """Take note that it has come."""
        self._patience_s = None
        self._receiving.clear()
        self._connection.flow.resume_reading()  # That its client leaves is heard only while it is read from.
        self._incoming.take_end()

    # -- what is answered

    def _start(self, exchange: Exchange) -> None:
        task = self._loop.create_task(self._app(exchange))
        self._state.tasks.add(task)
        task.add_done_callback(self._state.tasks.discard)

    def _answered(self) -> None:
        """Go on to the next request, or wait for it."""
        self._exchanges.popleft()
        connection = self._connection
        if connection.transport.is_closing() or (self._has_shut and not self._exchanges):
            self.close()
            return
        connection.flow.resume_reading()
        if self._exchanges:
            self._start(self._exchanges[0])
        else:
            if self._patience_s is None:
                self._receiving.set(KEEP_ALIVE_S)
            if not self._in_head:  # else the next request has begun
                self._idle.add(self)

    def _refuse(self) -> None:
        """Answer what the parser or we refused, in the shape of every other error, and close."""
        self._receiving.clear()
        refusal = self._refusal or MalformedHttp("The request is not valid HTTP/1.1.")
        first = self._exchanges[0] if self._exchanges else None
        if first and (first.response_started or not first.more_body):
            self.close()  # an earlier answer is made or written: nothing may be mixed into it, or stand for it
            return
        self._disconnect()
        self._connection.transport.write(refused(refusal))
        self.close()

    # -- who is still there

    def eof_received(self) -> bool:
        """Keep a connection whose client has stopped sending, if it is owed an answer, and find out which it is.

        A client that shut its sending side and reads on looks like one that has closed, until something is sent: the
        closed one answers that with a reset. An interim response is what may be sent without harm.
        """
        if not self._exchanges or self._exchanges[0].more_body:
            return False
        self._has_shut = True
        self._probe()
        return True

    def _probe(self) -> None:
        transport = self._connection.transport
        if transport.is_closing() or not self._exchanges:
            return
        exchange = self._exchanges[0]
        if not exchange.response_started and exchange.scope["http_version"] == "1.1":
            transport.write(_PROCESSING)
        self._probing = self._loop.call_later(PROBE_S, self._probed)

    def _probed(self) -> None:
        transport = self._connection.transport
        link: socket.socket | None = transport.get_extra_info("socket")
        if link is None or transport.is_closing():
            return
        if link.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            transport.abort()
        else:
            self._probing = self._loop.call_later(PROBE_AGAIN_S, self._probe)
