"""What is wrong with a client's JSON Schema, before anything is built from it.

The limits on properties, names and enums are those OpenAI documents for structured outputs (guide of 2026-08); depth
and bytes are the server's own. That a schema is well-formed does not mean it can be enforced: the engine says that.
"""

import json
from functools import lru_cache
from typing import Any, NoReturn

import jsonschema_rs

from antiphon.wire.schema_ends import objects, references_end
from antiphon.wire.schema_spread import spreads_too_far

MOST_PROPERTIES = 5_000
MOST_ENUM_VALUES = 1_000
MOST_NAME_CHARACTERS = 120_000
MOST_PATTERN_CHARACTERS = 512
MOST_REPEATS = 100_000
_REPEATS = ("minItems", "minLength", "minProperties")
_TABLES = ("properties", "$defs", "definitions", "patternProperties")
_PATTERNS = jsonschema_rs.RegexOptions(size_limit=1 << 20)
_DIALECTS = ("http://json-schema.org/", "https://json-schema.org/")

Schema = dict[str, Any]


@lru_cache(maxsize=256)
def schema_fault(text: str) -> str | None:
    """Say the first thing that is wrong with a schema whose depth and size are within bounds, as JSON.

    It is remembered of the last ones: clients send the same tools with every request.
    """
    schema: Schema = json.loads(text)
    if message := _excess(schema) or _malformed(schema):
        return message
    if not references_end(schema):
        return "A reference leads to itself, so that no JSON of this schema has an end."
    if spreads_too_far(schema):
        return "Its references multiply: too many schemas hold for one value."
    return None


def _excess(schema: Schema) -> str | None:
    properties = enums = characters = 0
    for inner in objects(schema):
        if message := _oddity(inner):
            return message
        names = [name for table in _TABLES for name in _table(inner, table)]
        values = inner["enum"] if isinstance(inner.get("enum"), list) else []
        properties += len(names)
        enums += len(values)
        characters += sum(len(text) for text in [*names, *values] if isinstance(text, str))
    counts = (
        (properties, MOST_PROPERTIES, "properties"),
        (enums, MOST_ENUM_VALUES, "enum values"),
        (characters, MOST_NAME_CHARACTERS, "characters in its names and enum values"),
    )
    return next((f"A schema has at most {most} {what}." for count, most, what in counts if count > most), None)


def _oddity(inner: Schema) -> str | None:
    """What is wrong with one object of a schema by itself."""
    for keyword in _REPEATS:
        if isinstance(inner.get(keyword), int) and inner[keyword] > MOST_REPEATS:
            return f"{keyword} is at most {MOST_REPEATS}."
    for pattern in (inner.get("pattern"), *_table(inner, "patternProperties")):
        if isinstance(pattern, str) and len(pattern) > MOST_PATTERN_CHARACTERS:
            return f"A pattern has at most {MOST_PATTERN_CHARACTERS} characters."
    if isinstance(inner.get("$schema"), str) and not inner["$schema"].startswith(_DIALECTS):
        return "$schema names an unknown dialect."
    return None


def _table(inner: Schema, keyword: str) -> Schema:
    found = inner.get(keyword)
    return found if isinstance(found, dict) else {}


def _malformed(schema: Schema) -> str | None:
    try:
        jsonschema_rs.Draft202012Validator(schema, retriever=_fetch, pattern_options=_PATTERNS)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        # The library's own words repeat the schema; where it went wrong is enough.
        place = "/".join(str(step) for step in getattr(error, "instance_path", []))
        return f"This is not a JSON Schema that can be enforced{f', at {place[:100]}' if place else ''}."
    return None


def _fetch(uri: str) -> NoReturn:
    raise ValueError(f"nothing is fetched: {uri}")
