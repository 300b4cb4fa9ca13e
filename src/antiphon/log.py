"""The log: lines on standard error, which may be full or gone. Those of one turn of the loop are written together."""

import asyncio  # noqa: TID251 - a turn of the loop is asyncio's
import io
import sys
import time
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any, TextIO, cast

import orjson
import structlog

MOST_LINES = 64
"""How many lines wait for the turn to end."""


class _Forgiving(io.TextIOBase):
    """Standard error that may be full or gone: then a line is lost, and nothing else."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: list[str] = []

    def write(self, text: str) -> int:
        self._lines.append(text)
        if len(self._lines) > MOST_LINES or not self._is_written_later():
            self._write_all()
        return len(text)

    def _is_written_later(self) -> bool:
        """Whether a loop runs here that will write; it is asked to with the first line."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return False
        if len(self._lines) == 1:
            loop.call_soon(self._write_all)
        return True

    def _write_all(self) -> None:
        lines, self._lines = self._lines, []
        with suppress(OSError, ValueError):
            self._stream.write("".join(lines))
            self._stream.flush()

    def flush(self) -> None:
        pass


def _as_json(_: object, level: str, event: MutableMapping[str, Any]) -> str:
    """A line as JSON; what JSON has no name for is written as text."""
    now = time.time()
    at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
    told = {**event, "level": level, "timestamp": f"{at}.{int(now % 1 * 1e6):06d}Z"}
    return orjson.dumps(told, default=str).decode()


def configure_log() -> None:
    """Write the log to standard error: for people on a terminal, as JSON lines elsewhere."""
    pretty = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
        structlog.dev.ConsoleRenderer(),
    ]
    structlog.configure(
        processors=[structlog.processors.format_exc_info, *(pretty if sys.stderr.isatty() else [_as_json])],
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", _Forgiving(sys.stderr))),
        cache_logger_on_first_use=True,
    )
