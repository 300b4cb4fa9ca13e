"""The log: lines on standard error, which may be full or gone. Those of one turn of the loop are written together."""

import asyncio  # noqa: TID251 - a turn of the loop is asyncio's
import sys
import time
from collections.abc import MutableMapping
from contextlib import suppress
from functools import lru_cache
from typing import Any, TextIO

import orjson
import structlog

MOST_LINES = 64
"""How many lines wait for the turn to end."""


class _Lines:
    """Standard error that may be full or gone: then lines are lost, and nothing else."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: list[str] = []

    def msg(self, line: str) -> None:
        """Write a line: at the end of this turn of the loop, or at once where there is none."""
        self._lines.append(line)
        if len(self._lines) > MOST_LINES or not self._is_written_later():
            self._write()

    debug = info = warning = error = critical = exception = msg

    def _is_written_later(self) -> bool:
        """Whether a loop runs here that will write; it is asked to with the first line."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return False
        if len(self._lines) == 1:
            loop.call_soon(self._write)
        return True

    def _write(self) -> None:
        lines, self._lines = self._lines, []
        if lines:
            with suppress(OSError, ValueError):
                self._stream.write("\n".join(lines) + "\n")
                self._stream.flush()


def _as_json(_: object, level: str, event: MutableMapping[str, Any]) -> str:
    """A line as JSON; what JSON has no name for is written as text."""
    now = time.time()
    told = {**event, "level": level, "timestamp": f"{_second(int(now))}.{int(now % 1 * 1e6):06d}Z"}
    return orjson.dumps(told, default=str).decode()


@lru_cache(maxsize=1)
def _second(at: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at))


def configure_log() -> None:
    """Write the log to standard error: for people on a terminal, as JSON lines elsewhere."""
    pretty = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
        structlog.dev.ConsoleRenderer(),
    ]
    lines = _Lines(sys.stderr)
    structlog.configure(
        processors=[structlog.processors.format_exc_info, *(pretty if sys.stderr.isatty() else [_as_json])],
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=True,
    )
