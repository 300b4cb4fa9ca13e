"""Server-sent events, both ways. Source: the WHATWG HTML standard, section 9.2, and what OpenAI's SDKs accept of it.

Only `data:` lines and comments are ever written: SDKs fail on `id:`, `retry:` and events without data.
"""

from collections.abc import Iterator

LINE_BYTES = 1024 * 1024
"""The longest line that is read."""

DONE = b"data: [DONE]\n\n"


def frame(data: bytes) -> bytes:
    """Give one event; `data` is JSON without line breaks."""
    return b"data: " + data + b"\n\n"


def comment(text: str) -> bytes:
    """Give a line that readers skip: the only keep-alive every SDK takes."""
    return f": {text}\n\n".encode()


class Decoder:
    """Bytes cut anywhere to the data of whole events."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []

    def feed(self, received: bytes) -> Iterator[bytes]:
        """Take bytes; give the data of every event they complete.

        Raises:
            ValueError: a line is longer than LINE_BYTES.
        """
        *lines, self._rest = (self._rest + received).split(b"\n")
        if len(self._rest) > LINE_BYTES:
            raise ValueError("a line of an event stream is too long")
        for raw in lines:
            line = raw.removesuffix(b"\r")
            if not line and self._data:
                yield b"\n".join(self._data)
                self._data = []
            elif line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
