"""How many schemas one value has to be held against at once, where schemas lead to schemas.

`a: allOf [b, b]`, `b: allOf [c, c]` and so on for sixty steps is 4 KB, and a validator that follows it never comes
back.
"""

from collections.abc import Iterator
from typing import Any

from antiphon.wire.schema_ends import objects, target

MOST = 10_000
"""Far more alternatives than a client writes out; a validator is through with them in a millisecond."""

Schema = dict[str, Any]


def spreads_too_far(schema: Schema) -> bool:
    """Say whether some schema in this one stands for more than `MOST` about the same value, or leads too far."""
    known: dict[int, int] = {}
    try:
        return any(_spread(node, schema, known) > MOST for node in objects(schema))
    except RecursionError:  # a chain of some hundred references that only lead to one another
        return True


def _spread(node: Any, root: Schema, known: dict[int, int]) -> int:
    if not isinstance(node, dict):
        return 1
    if id(node) not in known:
        known[id(node)] = 1  # what comes back to itself adds nothing
        known[id(node)] = min(MOST + 1, 1 + sum(_spread(inner, root, known) for inner in _same_place(node, root)))
    return known[id(node)]


def _same_place(node: Schema, root: Schema) -> Iterator[Any]:
    """The schemas that are asked about the same value as this one."""
    if isinstance(node.get("$ref"), str):
        yield target(node["$ref"], root)
    for keyword in ("allOf", "anyOf", "oneOf"):
        if isinstance(node.get(keyword), list):
            yield from node[keyword]
    yield from (node[keyword] for keyword in ("not", "if", "then", "else") if keyword in node)
