"""Whether every reference of a JSON Schema can be satisfied by JSON that has an end.

`{"$ref": "#"}` and a required property of its own kind are well-formed and allow nothing finite. What can be
finished is found from the leaves up: a schema can, when everything it insists on can.
"""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

Schema = dict[str, Any]

_INDEX = re.compile(r"[0-9]{1,9}")
"""What stands for a list's item. Python takes other digits for digits too, and reads no number of thousands."""


def references_end(schema: Schema) -> bool:
    """Say whether each reference in a well-formed schema leads to something that finite JSON can satisfy.

    In time linear in the schema: each schema is asked once, and tells those that wait for it when it ends.
    """
    nodes = list(objects(schema))
    waiting: dict[int, list[tuple[int, int]]] = {}
    """By the schema waited for: who waits, and for which of its groups."""
    missing: dict[int, set[int]] = {}
    """A schema's groups of which no member is known to end."""
    for node in nodes:
        groups = [group for group in _groups(node, schema) if all(isinstance(member, dict) for member in group)]
        missing[id(node)] = set(range(len(groups)))
        for number, group in enumerate(groups):
            for member in group:
                waiting.setdefault(id(member), []).append((id(node), number))
    ended = [node for node, groups in missing.items() if not groups]
    for found in ended:  # which grows meanwhile
        for waiter, number in waiting.get(found, ()):
            if number in missing[waiter]:
                missing[waiter].remove(number)
                if not missing[waiter]:
                    ended.append(waiter)
    return not any(missing[id(node)] for node in nodes if isinstance(node.get("$ref"), str))


def _groups(node: Schema, root: Schema) -> Iterator[list[Any]]:
    """What a schema insists on: of each group, one member has to have an end."""
    if "enum" in node or "const" in node:
        return
    yield from ([inner] for inner in _musts(node, root))
    yield from (node[keyword] for keyword in ("anyOf", "oneOf") if isinstance(node.get(keyword), list))


def _musts(node: Schema, root: Schema) -> Iterator[Any]:
    """The schemas that hold for some part of every JSON of this one."""
    if isinstance(node.get("$ref"), str):
        yield target(node["$ref"], root)
    if isinstance(node.get("allOf"), list):
        yield from node["allOf"]
    properties, required = node.get("properties"), node.get("required")
    if node.get("type") == "object" and isinstance(properties, dict) and isinstance(required, list):
        yield from (properties[name] for name in required if isinstance(name, str) and name in properties)
    if node.get("type") == "array" and node.get("minItems", 0):
        yield node.get("items", True)


def target(reference: str, root: Schema) -> Any:
    """Give what a local reference names; True, which asks for nothing, where that is not for us to say."""
    found: Any = root
    if reference != "#" and not reference.startswith("#/"):
        return True
    for step in unquote(reference[1:]).split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, dict) and name in found:
            found = found[name]
        elif isinstance(found, list) and _INDEX.fullmatch(name) and int(name) < len(found):
            found = found[int(name)]
        else:
            return True
    return found


def objects(value: object) -> Iterator[Schema]:
    """Give every object in a schema, itself included."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from objects(inner)
