"""What was sent to a client that may not read it."""

import asyncio  # noqa: TID251 - a transport's buffer is looked at

from antiphon.api.deadline import Deadline

WRITE_S = 30.0
LEAST_BYTES = 65_536
"""How much of what waits for it a client must read in that time, where there is so much."""


class Unread(Deadline):
    """Cuts a connection whose client hardly reads. One that does may take as long as it needs for a large answer.

    A connection that is closed counts too: it stays until all is read.
    """

    __slots__ = ("_bytes", "_transport")

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport) -> None:
        super().__init__(loop, self._look)
        self._transport, self._bytes = transport, 0

    def watch(self) -> None:
        """See that it reads on; until `clear`."""
        self._bytes = self._transport.get_write_buffer_size()
        self.set(WRITE_S)

    def _look(self) -> None:
        if self._bytes - self._transport.get_write_buffer_size() >= LEAST_BYTES:
            self.watch()
        else:
            self._transport.abort()
