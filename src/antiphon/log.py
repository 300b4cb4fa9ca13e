"""The log: lines on standard error, which may be full or gone. Those of one turn of the loop are written together."""

import asyncio  # noqa: TID251 - a turn of the loop is asyncio's
import sys
import time
import traceback
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import suppress
from functools import lru_cache
from select import PIPE_BUF
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
        with suppress(OSError, ValueError):
            for block in _blocks(lines):
                self._stream.write(block)
                self._stream.flush()


def _blocks(lines: Sequence[str]) -> Iterator[str]:
    """Give lines together, as many as a pipe takes whole: into the midst of more, another worker may write its own."""
    block, size = "", 0
    for line in lines:
        line_bytes = 1 + len(line if line.isascii() else line.encode("utf-8", "replace"))
        if block and size + line_bytes > PIPE_BUF:
            yield block
            block, size = "", 0
        block += line + "\n"
        size += line_bytes
    if block:
        yield block


def _without_content(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Put what went wrong into words: where, and of what kind. What errors say may hold what a client has sent."""
    if event.pop("exc_info", False) and (error := sys.exc_info()[1]):
        event["exception"] = "".join(_places(error)).rstrip()
    return event


def _places(error: BaseException) -> Iterator[str]:
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None:
        yield from _places(before)
    yield from traceback.format_tb(error.__traceback__)
    yield f"{type(error).__module__}.{type(error).__qualname__}\n"
    for one in error.exceptions if isinstance(error, BaseExceptionGroup) else ():
        yield from _places(one)


class _AsJson(structlog.BoundLoggerBase):
    """A logger whose lines are JSON. Every request has two lines, so no chain of processors makes one."""

    def info(self, event: str, **said: Any) -> None:
        self._write("info", event, said)

    def warning(self, event: str, **said: Any) -> None:
        self._write("warning", event, said)

    def error(self, event: str, **said: Any) -> None:
        self._write("error", event, _without_content(self, "error", said))

    def exception(self, event: str, **said: Any) -> None:
        self.error(event, **said, exc_info=True)

    def _write(self, level: str, event: str, said: MutableMapping[str, Any]) -> None:
        now = time.time()
        at = f"{_second(int(now))}.{int(now % 1 * 1e6):06d}Z"
        # What JSON has no name for is written as text.
        line = orjson.dumps({**said, "event": event, "level": level, "timestamp": at}, default=str)
        self._logger.msg(line.decode())


@lru_cache(maxsize=1)
def _second(at: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at))


def configure_log() -> None:
    """Write the log to standard error: for people on a terminal, as JSON lines elsewhere."""
    lines = _Lines(sys.stderr)
    pretty: list[structlog.typing.Processor] = [
        _without_content,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
        structlog.dev.ConsoleRenderer(),
    ]
    structlog.configure(
        processors=pretty,
        wrapper_class=None if sys.stderr.isatty() else _AsJson,
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=True,
    )
