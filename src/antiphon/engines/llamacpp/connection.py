"""One server process that uses this engine, from the child's side."""

import socket

from antiphon.engines.llamacpp.protocol import Frames, FromChild, Said, frame

UNSENT_BYTES = 64 * 1024 * 1024
"""How much a server may leave unread before its connection is dropped."""


class Connection:
    """The socket, what waits to be sent on it, and which requests came by it."""

    def __init__(self, link: socket.socket) -> None:
        self.link = link
        self.frames = Frames()
        self.unsent = bytearray()
        self.said: list[FromChild] = []
        """What the current step has for it."""
        self.requests: set[bytes] = set()

    def flush(self) -> None:
        """Send what has gathered, as far as the socket takes it.

        Raises:
            OSError: the server is gone, or has stopped reading.
        """
        if self.said:
            self.unsent += frame(Said(self.said))
            self.said = []
        while self.unsent:
            try:
                sent = self.link.send(self.unsent)
            except BlockingIOError:
                break
            del self.unsent[:sent]
        if len(self.unsent) > UNSENT_BYTES:
            raise OSError("the server does not read")
