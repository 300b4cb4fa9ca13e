"""What is measured of predictions: a reader of each, when it has ended."""

from typing import Protocol

from antiphon.core.running import Running


class Measures(Protocol):
    """Takes note of predictions."""

    def ended(self, running: Running) -> None:
        """Take note of one that has ended, whichever way. Never waits."""


class Several:
    """Several that take note of each."""

    def __init__(self, *readers: Measures) -> None:
        self._readers = readers

    def ended(self, running: Running) -> None:
        """Tell them all, in their order."""
        for reader in self._readers:
            reader.ended(running)


class _NoMeasures:
    def ended(self, running: Running) -> None:
        """Forget it."""


NO_MEASURES: Measures = _NoMeasures()
