"""Plain values of which many are made for every request."""

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(kind: type[T]) -> type[T]:
    """Make a class a dataclass that never changes: the type checker sees to it, and no code at run time.

    `dataclass(frozen=True)` sets each field through `object.__setattr__`: an event of six fields takes 0.5 us to make
    instead of 0.1, and a stream of 67 events 100 us more.
    """
    return dataclass(slots=True, unsafe_hash=True)(kind)
