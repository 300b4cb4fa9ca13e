"""Files that an account has put here for later requests."""

import re
from dataclasses import dataclass

PURPOSE = "user_data"
"""The one purpose that files have here."""
FILE_ID = re.compile("file-[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class File:
    """A file, without its content."""

    id: str
    """As FILE_ID says."""
    account: str
    filename: str
    """As its client named it, for display: never a path."""
    size: int
    """Of its content, in bytes."""
    created: int
    """Epoch seconds, as is the next."""
    expires: int
    """From then on it is gone."""
