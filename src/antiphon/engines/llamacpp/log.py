"""What of the library's log is worth a line of ours."""

import sys

WARNING, ERROR = 3, 4
"""`enum ggml_log_level`."""
_EXPECTED = (
    "n_ctx_seq (",  # one sequence could fill the pool meant for many; ours are kept to the model's context
    "failed with error 1",  # the next four tell of a batch that we broke off
    "compute status: 1",
    "removing memory module entries",
    "ret = 2",
    "failed to find a memory slot",  # a full pool: the loop makes room
    "ret = 1",
    "failed to find available cells",  # the next three: a full pool again, for a prefix that is then read anew
    "failed to restore",
    "error loading state",
)
"""Warnings of the library about what we do on purpose."""


def log(level: int, line: str) -> None:
    """Pass on what matters of the library's log, one line each."""
    if level >= WARNING and line.strip(" .\n") and not any(words in line for words in _EXPECTED):
        sys.stderr.write(line.rstrip("\n") + "\n")
        sys.stderr.flush()
