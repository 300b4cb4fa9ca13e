"""One of several server processes on a port, from its own side.

Run as `python -m antiphon.worker PARENT`. It reads its settings as one line of JSON on standard input, says `ready`, or
`failed` and why, on standard output, and logs to standard error.
"""

import socket
import sys
from contextlib import closing

import anyio

from antiphon.app import FAILURES, bind, work
from antiphon.log import configure_log
from antiphon.orphan import end_with
from antiphon.settings import Settings


def main() -> None:
    """Serve until a signal says stop, or the parent is gone."""
    line = sys.stdin.buffer.readline()
    if not line:
        sys.exit(1)  # The parent was gone before it had said anything.
    settings = Settings.model_validate_json(line)
    end_with(int(sys.argv[1]))
    configure_log()
    try:
        with closing(bind(settings.server.host, settings.server.port, is_shared=True)) as listener:
            anyio.run(_run, settings, listener, backend_options={"use_uvloop": True})
    except FAILURES as error:
        _say(f"failed {error}")
        sys.exit(1)


async def _run(settings: Settings, listener: socket.socket) -> None:
    await work(settings, listener, lambda: _say("ready"))


def _say(verdict: str) -> None:
    sys.stdout.write(f"{verdict}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
