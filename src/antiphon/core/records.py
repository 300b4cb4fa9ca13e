"""The socket of a store for predictions that run; those of what reads them later are in `core.ports`."""

from typing import Protocol

from antiphon.core.ports import Writing
from antiphon.core.running import Running


class Records(Protocol):
    """Where predictions are written down while they run. What is given may be written later, never in another order."""

    def write(self, running: Running) -> Writing:
        """Write a prediction as it now stands: after it began, after each move, and when it has ended.

        Never waits. When its beginning cannot be written, `running.fail` is called with a StorageUnavailable, and
        nothing more is written of it.
        """
