"""What can be asked: models, their immutable versions, and the names they go by."""

import re
from dataclasses import dataclass
from functools import lru_cache

NAME_CHARACTERS = 200
"""The longest name, owner and number included, that is looked at."""

_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?"
_NAME = re.compile(rf"({_PART})/({_PART})(?::([1-9][0-9]{{0,8}}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class ModelName:
    """`owner/name`, or `owner/name:number`; without a number the highest version is meant."""

    owner: str
    name: str
    number: int | None = None

    @classmethod
    def parse(cls, text: str) -> "ModelName | None":
        """Read a name; None when the text is not of the form `owner/name` or `owner/name:N` with N from 1."""
        return _parsed(text) if len(text) <= NAME_CHARACTERS else None

    def __str__(self) -> str:
        """Write the name as a client would."""
        return f"{self.owner}/{self.name}" + (f":{self.number}" if self.number else "")


@lru_cache(maxsize=1_024)  # Of bounded names: what a client makes up is kept as well.
def _parsed(text: str) -> ModelName | None:
    if not (match := _NAME.fullmatch(text)):
        return None
    owner, name, number = match.groups()
    return ModelName(owner, name, int(number) if number else None)


@dataclass(frozen=True, slots=True)
class Version:
    """One immutable version of a model."""

    number: int
    engine: str
    """The kind of engine that runs it: "llamacpp", "scripted", …"""
    digest: str
    """What identifies its weights: the first 12 hex digits of their sha256, or of its definition where it has none."""
    created: int = 0
    """When it was first offered, in epoch seconds."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model: whose it is, who sees it, its versions and how much of it runs at once."""

    owner: str
    name: str
    versions: tuple[Version, ...]
    """In rising order of number; never empty."""
    account: str | None
    """The account that alone may see it; None when it is public."""
    slots: int
    """How many choices run at once, over all requests."""
    queue: int
    """How many requests may wait for slots; one more is refused."""
    deadline_s: float
    created: int
    """When the model was first offered, in epoch seconds."""

    @property
    def id(self) -> str:
        """The model's own name, without a version."""
        return f"{self.owner}/{self.name}"

    def version(self, number: int | None) -> Version | None:
        """Find a version; the highest when no number is given."""
        if number is None:
            return self.versions[-1]
        return next((version for version in self.versions if version.number == number), None)

    def is_visible_to(self, account: str) -> bool:
        """Whether the account may know that this model exists."""
        return self.account is None or self.account == account
