"""Whether every reference of a JSON Schema can be satisfied by JSON that has an end.

`{"$ref": "#"}` and a required property of its own kind are well-formed and allow nothing finite. What can be
finished is found from the leaves up: a schema can, when everything it insists on can.
"""

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

Schema = dict[str, Any]


def references_end(schema: Schema) -> bool:
    """Say whether each reference in a well-formed schema leads to something that finite JSON can satisfy."""
    nodes = list(_objects(schema))
    ended: set[int] = set()
    grows = True
    while grows:
        news = {id(node) for node in nodes if id(node) not in ended and _ends(node, schema, ended)}
        ended |= news
        grows = bool(news)
    return all(id(node) in ended for node in nodes if isinstance(node.get("$ref"), str))


def _ends(node: Schema, root: Schema, ended: set[int]) -> bool:
    """Whether all that a schema insists on is known to have an end."""
    if "enum" in node or "const" in node:
        return True
    choices = [node[keyword] for keyword in ("anyOf", "oneOf") if isinstance(node.get(keyword), list)]
    return all(_is_ended(inner, ended) for inner in _musts(node, root)) and all(
        any(_is_ended(inner, ended) for inner in choice) for choice in choices
    )


def _musts(node: Schema, root: Schema) -> Iterator[Any]:
    """The schemas that hold for some part of every JSON of this one."""
    if isinstance(node.get("$ref"), str):
        yield _target(node["$ref"], root)
    if isinstance(node.get("allOf"), list):
        yield from node["allOf"]
    properties, required = node.get("properties"), node.get("required")
    if node.get("type") == "object" and isinstance(properties, dict) and isinstance(required, list):
        yield from (properties[name] for name in required if name in properties)
    if node.get("type") == "array" and node.get("minItems", 0):
        yield node.get("items", True)


def _is_ended(schema: Any, ended: set[int]) -> bool:
    return not isinstance(schema, dict) or id(schema) in ended


def _target(reference: str, root: Schema) -> Any:
    """What a local reference names; True, which asks for nothing, where that is not for us to say."""
    found: Any = root
    if not reference.startswith("#"):
        return True
    for step in unquote(reference[1:]).split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, dict) and name in found:
            found = found[name]
        elif isinstance(found, list) and name.isdigit() and int(name) < len(found):
            found = found[int(name)]
        else:
            return True
    return found


def _objects(value: object) -> Iterator[Schema]:
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _objects(inner)
