"""Whether a text is JSON that satisfies a schema: our own verdict, whatever the engine thought it was doing.

jsonschema-rs runs patterns in linear time and is given no way to fetch anything.
"""

import json
from collections.abc import Mapping
from typing import Any, NoReturn

import jsonschema_rs

_PATTERNS = jsonschema_rs.RegexOptions(size_limit=1 << 20)


def satisfies(text: str, schema: Mapping[str, Any]) -> bool:
    """Say whether `text` is JSON that `schema`, which was checked when it came in, allows."""
    try:
        value = json.loads(text)
    except ValueError:
        return False
    validator = jsonschema_rs.Draft202012Validator(dict(schema), retriever=_fetch, pattern_options=_PATTERNS)
    return validator.is_valid(value)


def _fetch(uri: str) -> NoReturn:
    raise ValueError(f"nothing is fetched: {uri}")
