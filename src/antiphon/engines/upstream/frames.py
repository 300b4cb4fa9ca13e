"""Bytes of a stream of server-sent events to the data of each, wherever the bytes are cut."""

from antiphon.domain.errors import EngineFailed

MOST_BYTES = 1 << 20
"""Of one event. What is larger is no answer of ours: it would only be collected."""
DONE = b"[DONE]"
_BLANK = (b"", b"\r")
_BOM = b"\xef\xbb\xbf"
"""May stand before the first line, and is no part of it."""


class Frames:
    """Reads one stream (WHATWG HTML, 9.2.6; lines may end in LF or CRLF). Comments and other fields are skipped."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._size = 0
        self._is_first = True

    def feed(self, more: bytes) -> list[bytes]:
        """Take bytes; give the data of the events they complete. `[DONE]` is complete with its line.

        Raises:
            EngineFailed: an event is too large.
        """
        lines = (self._rest + more).split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > MOST_BYTES:
            raise EngineFailed("The model's server sent too much at once.")
        if lines and self._is_first:
            self._is_first = False
            lines[0] = lines[0].removeprefix(_BOM)
        found: list[bytes] = []
        for line in lines:
            if line.startswith(b"data:"):
                self._take(line[5:].strip(), found)
            elif self._data and line in _BLANK:
                found.append(self._whole())
        return found

    def _take(self, data: bytes, found: list[bytes]) -> None:
        if data == DONE:
            if self._data:
                found.append(self._whole())
            found.append(DONE)
            return
        self._data.append(data)
        self._size += len(data)
        if self._size > MOST_BYTES:
            raise EngineFailed("The model's server sent too much at once.")

    def _whole(self) -> bytes:
        whole = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
        self._data, self._size = [], 0
        return whole
