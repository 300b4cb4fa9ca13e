"""Whether a client's grammar can be compiled at all, tried in a process of its own that ends itself when it cannot.

Whether two patterns that must both hold have a text in common can take llguidance for ever and all memory, and no limit
of the library bounds it. A process can be bounded: by its processor time, and by its memory.

Run as `python -m antiphon.engines.llamacpp.trial`: reads a line, a JSON list of grammars; says a line for each one up
to the first that is refused. Where it dies instead, the grammar whose turn it was is at fault.
"""

import contextlib
import json
import resource
import signal
import subprocess
import sys
from collections.abc import Sequence

import llguidance

SECONDS = 1.0
"""Of processor time, for all grammars of a request: the library means to need 0.1 to 1 for extremely complex ones."""
BYTES = 1 << 30
"""Of address space."""
FITS, UNFIT = "fits", "unfit"


class Trial:
    """Tries grammars. For one thread."""

    def __init__(self) -> None:
        """Start nothing yet: a server without constrained answers never pays."""
        self._process: subprocess.Popen[str] | None = None

    def first_unfit(self, grammars: Sequence[str]) -> int | None:
        """Give the place of the first grammar that cannot be compiled within bounds; None when all can."""
        pipes = self._running()
        if pipes.stdin is None or pipes.stdout is None:
            raise OSError("no pipes")
        pipes.stdin.write(json.dumps(list(grammars)) + "\n")
        pipes.stdin.flush()
        for number in range(len(grammars)):
            verdict = pipes.stdout.readline().strip()
            if not verdict:
                self.close()
            if verdict != FITS:
                return number
        return None

    def close(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _running(self) -> "subprocess.Popen[str]":
        if self._process is not None and self._process.poll() is not None:
            self.close()
        if self._process is None:
            command = [sys.executable, "-m", __name__]
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)  # noqa: S603 - ourselves
        return self._process


def main() -> None:
    """Try what is read, until there is no more to read."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for limit, most in ((resource.RLIMIT_AS, BYTES), (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(ValueError, OSError):  # not every system takes every limit
            resource.setrlimit(limit, (most, most))
    # Which tokens a text is made of does not matter for whether a grammar has any.
    tokenizer = llguidance.LLTokenizer("byte")
    for line in sys.stdin:
        grammars = json.loads(line)
        # The signal's own effect, the end of the process, needs no Python to run: the library does not let it.
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        for grammar in grammars:
            is_error = llguidance.LLMatcher(tokenizer, grammar, log_level=0).is_error()
            sys.stdout.write(f"{UNFIT if is_error else FITS}\n")
            sys.stdout.flush()
            if is_error:
                break
        signal.setitimer(signal.ITIMER_PROF, 0)


if __name__ == "__main__":
    main()
