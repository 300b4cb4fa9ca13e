"""Whether a client is still there, told by its connection: nobody has to wait in a task of his own to hear it."""

from collections.abc import Callable

from uvicorn._types import HTTPScope


class Gone:
    """One request's client."""

    __slots__ = ("_action", "is_so")

    def __init__(self) -> None:
        self.is_so = False
        self._action: Callable[[], None] | None = None

    def tell(self) -> None:
        """The client has left; told once, by whoever holds the connection."""
        if not self.is_so:
            self.is_so = True
            if self._action:
                self._action()

    def watch(self, action: Callable[[], None]) -> None:
        """Do something when the client leaves; at once if it has."""
        self._action = action
        if self.is_so:
            action()

    def forget(self) -> None:
        """Do nothing then."""
        self._action = None


KEY = "gone"
"""Under this name it stands in a scope's state."""


def gone_of(scope: HTTPScope) -> Gone:
    """Give what tells when a request's client leaves."""
    found: Gone = scope["state"][KEY]
    return found
