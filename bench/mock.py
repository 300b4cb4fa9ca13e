"""An upstream that answers at once, cheap enough to share a core with whoever asks: whole, or as a stream of 67 events.

python -m bench.mock [--pause-ms N] prints its port. With a pause, the events of a stream come so far apart.
"""

import argparse
import asyncio
import json

import uvloop

WORDS = 64
HEAD = {"id": "chatcmpl-mock", "object": "chat.completion.chunk", "created": 1, "model": "mock"}


def _event(delta: dict, finish: str | None = None) -> bytes:
    chunk = HEAD | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}]}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


USAGE = {"prompt_tokens": 12, "completion_tokens": WORDS, "total_tokens": 12 + WORDS}
EVENTS = [
    _event({"role": "assistant", "content": ""}),
    *[_event({"content": f" word{number}"}) for number in range(WORDS)],
    _event({}, "stop"),
    b"data: " + json.dumps(HEAD | {"choices": [], "usage": USAGE}).encode() + b"\n\ndata: [DONE]\n\n",
]
"""67 events, the last with the end of the stream."""
MESSAGE = {"role": "assistant", "content": "".join(f" word{number}" for number in range(WORDS))}
WHOLE = json.dumps(
    HEAD
    | {"object": "chat.completion", "usage": USAGE}
    | {"choices": [{"index": 0, "message": MESSAGE, "finish_reason": "stop", "logprobs": None}]}
).encode()
MODELS = json.dumps({"object": "list", "data": [{"id": "mock", "object": "model", "owned_by": "mock"}]}).encode()


def _whole(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


ANSWER, LISTED = _whole(WHOLE), _whole(MODELS)
OPENING = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
PIECES = [b"%x\r\n%s\r\n" % (len(event), event) for event in EVENTS]


class Mock(asyncio.Protocol):
    """One connection."""

    pause_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            _, _, rest = head.partition(b"content-length:")
            size = int(rest.split(b"\r\n", 1)[0]) if rest else 0
            if len(self._buffer) < end + 4 + size:
                return
            body, self._buffer = self._buffer[end + 4 : end + 4 + size], self._buffer[end + 4 + size :]
            if head.startswith(b"get"):
                self._transport.write(LISTED)
            elif b'"stream":true' in body or b'"stream": true' in body:
                self._transport.write(OPENING)
                self._send(0)
            else:
                self._transport.write(ANSWER)

    def _send(self, place: int) -> None:
        """One event, then the loop's other business, then the next: they arrive one by one."""
        if self._transport.is_closing():
            return
        self._transport.write(PIECES[place] if place + 1 < len(PIECES) else PIECES[place] + b"0\r\n\r\n")
        loop = asyncio.get_running_loop()
        if place + 1 < len(PIECES):
            if self.pause_s:
                loop.call_later(self.pause_s, self._send, place + 1)
            else:
                loop.call_soon(self._send, place + 1)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pause-ms", type=float, default=0)
    Mock.pause_s = parser.parse_args().pause_ms / 1000
    server = await asyncio.get_running_loop().create_server(Mock, "127.0.0.1", 0, backlog=4096)
    print(f"mock on port {server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
