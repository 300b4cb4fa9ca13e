"""Whether a text is JSON that satisfies a schema: our own verdict, whatever the engine thought it was doing.

jsonschema-rs runs patterns in linear time and is given no way to fetch anything.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn

import jsonschema_rs

_WRITTEN = re.compile(r"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|(?P<half>u[dD][89a-fA-F]..)|.)")
"""Whatever JSON escapes: a pair, half of one, or something else."""
_PATTERNS = jsonschema_rs.RegexOptions(size_limit=1 << 20)


def satisfies(text: str, schema: Mapping[str, Any]) -> bool:
    """Say whether `text` is JSON that `schema`, which was checked when it came in, allows."""
    try:
        value = json.loads(_WRITTEN.sub(_whole, text))
    except (ValueError, RecursionError):
        return False
    validator = jsonschema_rs.Draft202012Validator(dict(schema), retriever=_fetch, pattern_options=_PATTERNS)
    return validator.is_valid(value)


def _whole(written: re.Match[str]) -> str:
    """Half of a surrogate pair, which JSON may escape and no validator can be given, as another character."""
    return "\\ufffd" if written["half"] else written[0]


def _fetch(uri: str) -> NoReturn:
    raise ValueError(f"nothing is fetched: {uri}")
