"""`antiphon serve`, which tells on SIGUSR2 where its main thread was, each millisecond of CPU that the process used.

Between two SIGUSR1 and SIGUSR2 a timer interrupts it; what runs then is put down by the file of ours that is nearest to
it, so that a library's work counts for the file that asked for it.
"""

import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType

import antiphon
from antiphon.cli import main

EVERY_S = 0.001
TOLD = "samples"
"""The file in its data directory."""
OURS = str(Path(antiphon.__file__).parent) + os.sep

_seen: Counter[str] = Counter()


def _sample(_: int, frame: FrameType | None) -> None:
    while frame is not None:
        path = frame.f_code.co_filename
        if path.startswith(OURS) and not path.endswith("cli.py"):
            _seen[path.removeprefix(OURS).removesuffix(".py")] += 1
            return
        frame = frame.f_back
    _seen[""] += 1


def _begin(*_: object) -> None:
    _seen.clear()
    signal.setitimer(signal.ITIMER_PROF, EVERY_S, EVERY_S)


def _end(*_: object) -> None:
    signal.setitimer(signal.ITIMER_PROF, 0)
    home = Path(os.environ["ANTIPHON_HOME"])
    (home / f"{TOLD}.new").write_text(json.dumps(_seen))
    (home / f"{TOLD}.new").rename(home / TOLD)


if __name__ == "__main__":
    signal.signal(signal.SIGPROF, _sample)
    signal.signal(signal.SIGUSR1, _begin)
    signal.signal(signal.SIGUSR2, _end)
    sys.argv = ["antiphon", "serve"]
    main()
