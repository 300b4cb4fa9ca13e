"""A child that does not outlive its parent, however that ends."""

import ctypes
import os
import signal
import sys
import threading

_PR_SET_PDEATHSIG = 1
"""See prctl(2)."""


def end_with(parent: int) -> None:
    """End this process when its parent ends: by the kernel's signal where there is one, else when its input closes.

    Args:
        parent: the parent's process id, which it knows better than a child whose parent is gone already.
    """

    def watch() -> None:
        while os.read(0, 4096):
            pass
        os._exit(0)

    threading.Thread(target=watch, name="parent", daemon=True).start()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)
