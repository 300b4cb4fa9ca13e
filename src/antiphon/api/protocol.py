"""HTTP/1.1 on one connection: uvicorn's protocol with the limits, the manners and the error bodies it lacks.

uvicorn with httptools takes headers of any size, waits for ever for slow ones and for slow readers, answers malformed
HTTP in plain text, and takes a client that has shut its sending side for one that has left.
"""

import asyncio  # noqa: TID251 - uvicorn's protocol is an asyncio protocol
import re
import socket
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from itertools import chain
from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from antiphon.api.exchange import KEY, Exchange
from antiphon.api.idle import Idle
from antiphon.domain.errors import AntiphonError, HeadersTooLarge, MalformedHttp
from antiphon.domain.ids import new_id
from antiphon.wire.openai import error_body

HEADER_COUNT = 100
HEADER_BYTES = 65_536
TARGET_BYTES = 8_192
HEADERS_S = 10.0
"""How long a client may take to send its headers, and to begin at all."""
BODY_S = 60.0
"""How long it may take to send its body."""
WRITE_S = 30.0
"""How long it may leave what was sent unread."""
MOST_AHEAD = 8
"""Requests a client may send ahead of its answers; nobody's does."""
MOST_FRAMING = 16
"""Bytes of chunked framing for one of body. A chunk of one byte takes five."""
PROBE_S = 0.03
"""How soon after a probe its effect is looked at: on one machine a reset comes back at once."""
PROBE_AGAIN_S = 0.25

_HOST = re.compile(rb"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_UPGRADE = re.compile(rb"\r\nupgrade[ \t]*:", re.IGNORECASE)
_PROCESSING = b"HTTP/1.1 102 Processing\r\n\r\n"


class _Refused(Exception):
    """Raised inside the parser's callbacks to stop it."""


def _without_upgrade(data: bytes) -> bytes:
    """Rename the Upgrade header of a request's head: this server ignores it, the parser would stop reading for it.

    `curl --http2` sends one with every request. A head in two pieces with the name across the cut is not covered.
    """
    if b"pgrade" not in data and b"PGRADE" not in data:
        return data
    head, end, rest = data.partition(b"\r\n\r\n")
    return _UPGRADE.sub(rb"\r\nx-upgrade:", head) + end + rest


class Protocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *args: Any, idle: Idle, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._idle = idle
        self._head_bytes = 0
        self._in_head = True
        self._refusal: AntiphonError = MalformedHttp("The request is not valid HTTP/1.1.")
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._cycles: deque[Exchange] = deque()
        """The requests of this connection that are not answered to their end, in their order."""
        self._sent_bytes = self._body_bytes = 0
        """Of the current request behind its head: what came, and what of it was body."""
        self._has_shut = False
        """Whether the client has stopped sending."""

    # -- time

    def _arm(self, name: str, seconds: float, action: Callable[[], None]) -> None:
        self._disarm(name)
        self._timers[name] = self.loop.call_later(seconds, action)

    def _disarm(self, name: str) -> None:
        if timer := self._timers.pop(name, None):
            timer.cancel()

    def _cut(self) -> None:
        """Close a connection whose client is too slow."""
        if not self.transport.is_closing():
            self.transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._arm("receive", HEADERS_S, self._cut)
        self._idle.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        for name in list(self._timers):
            self._disarm(name)
        self._idle.discard(self.transport)
        # uvicorn tells the last request only, which is not the one that runs when a client sends ahead.
        self._disconnect()
        self.pipeline.clear()
        super().connection_lost(exc)

    def _disconnect(self) -> None:
        """Tell every request that is not answered yet that its client is gone."""
        for cycle in self._cycles:
            cycle.disconnected = True
            cycle.message_event.set()
            if not cycle.response_complete:
                cycle.left()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._arm("write", WRITE_S, self._cut)

    def resume_writing(self) -> None:
        self._disarm("write")
        super().resume_writing()

    # -- what may be sent

    def data_received(self, data: bytes) -> None:
        was_in_head = self._in_head
        super().data_received(_without_upgrade(data) if was_in_head else data)
        if self.transport.is_closing():
            return
        if self._in_head:
            self._head_bytes += len(data)
        elif not was_in_head:
            self._sent_bytes += len(data)
        framing = self._sent_bytes - MOST_FRAMING * self._body_bytes
        if self._head_bytes > HEADER_BYTES + TARGET_BYTES or framing > HEADER_BYTES:
            self._refusal = HeadersTooLarge(f"The headers are larger than {HEADER_BYTES} bytes.")
            self.send_400_response("")
        elif self._active is None and "receive" not in self._timers:
            self._arm("receive", HEADERS_S, self._cut)  # an empty line, which begins nothing and stops uvicorn's timer

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._idle.discard(self.transport)
        self._in_head, self._head_bytes = True, 0
        self._sent_bytes = self._body_bytes = 0
        self._arm("receive", HEADERS_S, self._cut)

    def on_headers_complete(self) -> None:
        self._in_head = False
        if refusal := self._judged():
            self._refusal = refusal
            raise _Refused
        self._arm("receive", BODY_S, self._cut)
        self._resolve()
        self.cycle = exchange = Exchange(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=self.scope["http_version"] != "1.0" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        self.scope["state"][KEY] = exchange
        # uvicorn stops reading where a client sends ahead, and would not hear that it leaves.
        if self._active is None:
            self._start_asgi_task(exchange, self.app)
        else:
            self.pipeline.appendleft((exchange, self.app))
        self._cycles.append(exchange)
        if len(self.pipeline) > MOST_AHEAD:
            self._cut()

    def _resolve(self) -> None:
        """Put down in the scope what is asked for."""
        scope, target = self.scope, httptools.parse_url(self.url)
        scope["method"] = self.parser.get_method().decode("ascii")
        scope["http_version"] = self.parser.get_http_version()
        scope["raw_path"], scope["query_string"] = target.path, target.query or b""
        scope["path"] = unquote(target.path.decode("ascii"))

    def on_header(self, name: bytes, value: bytes) -> None:
        # What comes behind the body was never judged, so it is not read.
        if self._in_head:
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._disarm("receive")
        super().on_message_complete()

    def _judged(self) -> AntiphonError | None:
        """What is wrong with the headers, if anything is."""
        if len(self.url) > TARGET_BYTES:
            return HeadersTooLarge(f"The request target is longer than {TARGET_BYTES} bytes.")
        size = sum(map(len, chain.from_iterable(self.headers)))
        if len(self.headers) > HEADER_COUNT or size > HEADER_BYTES:
            return HeadersTooLarge(f"At most {HEADER_COUNT} headers of {HEADER_BYTES} bytes in all are read.")
        hosts = [value for name, value in self.headers if name == b"host"]
        if hosts != hosts[:1] or (hosts and not _HOST.fullmatch(hosts[0])):
            return MalformedHttp("The Host header is malformed.")
        if not hosts and self.parser.get_http_version() == "1.1":
            return MalformedHttp("The Host header is missing.")
        if sum(name == b"authorization" for name, _ in self.headers) > 1:
            return MalformedHttp("There is more than one Authorization header.")
        return None

    def send_400_response(self, msg: str) -> None:
        """Answer what the parser or we refused, in the shape of every other error, and close."""
        self._disarm("receive")
        is_unread = not self._in_head and len(self._cycles) == 1 and not self._cycles[0].response_started
        if self._active is not None and not is_unread:
            self.transport.close()  # an earlier answer is still being written: nothing may be mixed into it
            return
        self._disconnect()
        refusal, body = self._refusal, error_body(self._refusal)
        status = HTTPStatus(refusal.status)
        head = f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\n"
        head += f"content-length: {len(body)}\r\nconnection: close\r\n"
        head += f"x-request-id: {new_id()}\r\nopenai-processing-ms: 0\r\n\r\n"
        self.transport.write(head.encode() + body)
        self.transport.close()

    # -- who is still there

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keep a connection whose client has stopped sending, if it is owed an answer, and find out which it is.

        A client that shut its sending side and reads on looks like one that has closed, until something is sent: the
        closed one answers that with a reset. An interim response is what may be sent without harm.
        """
        cycle = self._active
        if cycle is None or cycle.more_body:
            return False
        self._has_shut = True
        self._probe()
        return True

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._active is not None or self.transport.is_closing():
            return
        if self._has_shut:
            self.transport.close()
        elif not self._in_head:  # else the next request has begun
            self._idle.add(self.transport)

    @property
    def _active(self) -> Exchange | None:
        """The request that is being answered."""
        while self._cycles and self._cycles[0].response_complete:
            self._cycles.popleft()
        return self._cycles[0] if self._cycles else None

    def _probe(self) -> None:
        cycle = self._active
        if self.transport.is_closing() or cycle is None:
            return
        if not cycle.response_started and cycle.scope["http_version"] == "1.1":
            self.transport.write(_PROCESSING)
        self._arm("probe", PROBE_S, self._probed)

    def _probed(self) -> None:
        link: socket.socket | None = self.transport.get_extra_info("socket")
        if link is None or self.transport.is_closing():
            return
        if link.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.transport.abort()
        else:
            self._arm("probe", PROBE_AGAIN_S, self._probe)
