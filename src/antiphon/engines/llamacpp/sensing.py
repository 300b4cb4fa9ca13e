"""A thread that encodes what requests carry beside text, so that a request that carries nothing never waits for it."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from antiphon.engines.llamacpp.connection import Connection
from antiphon.engines.llamacpp.log import ERROR, log
from antiphon.engines.llamacpp.mtmd import NotTaken
from antiphon.engines.llamacpp.protocol import Ended, Picture, Sound, Start
from antiphon.engines.llamacpp.senses import Senses, Taken

Done = Callable[[Connection, Start, Sequence[Sequence[Taken]]], None]
"""Takes a request whose pictures and sounds are encoded, message by message."""
Refuse = Callable[[Connection, Ended], None]


class _Refused(Exception):
    """A request ends here."""

    def __init__(self, ended: Ended) -> None:
        super().__init__(ended.message)
        self.ended = ended


class Sensing:
    """The requests that wait for their pictures and sounds. Any thread may call it."""

    def __init__(self, senses: Senses, done: Done, refuse: Refuse) -> None:
        self._senses, self._done, self._refuse = senses, done, refuse
        self._thread = ThreadPoolExecutor(1, "senses")
        self._lock = threading.Lock()
        self._wanted: set[bytes] = set()

    def add(self, connection: Connection, start: Start) -> None:
        """Encode a request's; then it is done, or refused."""
        self._wanted.add(start.id)
        self._thread.submit(self._take, connection, start)

    def cancel(self, request_id: bytes) -> bool:
        """Drop a request, which is told as soon as what is being encoded is; False when it is not here."""
        with self._lock:
            is_here = request_id in self._wanted
            self._wanted.discard(request_id)
        return is_here

    def _take(self, connection: Connection, start: Start) -> None:
        try:
            taken = [[self._taken(start.id, medium) for medium in turn.media] for turn in start.turns]
        except _Refused as refused:
            self._wanted.discard(start.id)
            self._refuse(connection, refused.ended)
            return
        # With the lock, a cancel comes either before this or finds the request where it is handed on to.
        with self._lock:
            is_wanted = start.id in self._wanted
            self._wanted.discard(start.id)
            if is_wanted:
                self._done(connection, start, taken)
        if not is_wanted:
            self._refuse(connection, Ended(start.id))

    def _taken(self, request_id: bytes, medium: Picture | Sound) -> Taken:
        """Encode one picture or sound, unless nobody waits for it any more."""
        if request_id not in self._wanted:
            raise _Refused(Ended(request_id))
        try:
            return self._senses.take(medium)
        except NotTaken:
            kind = "look at this picture" if isinstance(medium, Picture) else "hear this sound"
            raise _Refused(Ended(request_id, "medium", f"The model cannot {kind}.")) from None
        except Exception as error:
            # A request that is never answered would be waited for: whatever it was, it is told.
            log(ERROR, f"a picture or a sound could not be encoded: {type(error).__name__}")
            raise _Refused(Ended(request_id, "failed", "A picture or a sound could not be read.")) from error
