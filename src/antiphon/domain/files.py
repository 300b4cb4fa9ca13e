"""Files that an account has put here for later requests."""

from dataclasses import dataclass

PURPOSE = "user_data"
"""The one purpose that files have here."""


@dataclass(frozen=True, slots=True)
class File:
    """A file, without its content."""

    id: str
    """`file-` and 32 hex digits."""
    account: str
    filename: str
    """As its client named it, for display: never a path."""
    size: int
    """Of its content, in bytes."""
    created: int
    """Epoch seconds, as is the next."""
    expires: int
    """From then on it is gone."""
