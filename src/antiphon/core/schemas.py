"""Whether a text is JSON that satisfies a schema: our own verdict, whatever the engine thought it was doing.

jsonschema-rs runs patterns in linear time and is given no way to fetch anything. But where alternatives lead by
references into the same places, it holds each value against each way there: 4 KB of schema and 30 levels of answer are
2**30 visits (18 levels took 0.14 s, 4 times as much for every 2 more). Such schemas are judged in a process that can be
ended.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn

import anyio
import anyio.to_process
import jsonschema_rs

from antiphon.domain.errors import EngineFailed

JUDGE_S = 5.0
"""How long a verdict may take where it can take for ever."""

_AGAIN = ("anyOf", "oneOf", "allOf", "not", "if", "dependentSchemas", "patternProperties", "contains", "unevaluated")
"""The keywords, or how they begin, that hold one value against several schemas."""

_WRITTEN = re.compile(r"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|(?P<half>u[dD][89a-fA-F]..)|.)")
"""Whatever JSON escapes: a pair, half of one, or something else."""
_PATTERNS = jsonschema_rs.RegexOptions(size_limit=1 << 20)


async def judge(text: str, schema: Mapping[str, Any]) -> bool:
    """Say whether `text` is JSON that `schema` allows; see `satisfies`.

    Raises:
        EngineFailed: it cannot be said in time.
    """
    if _is_plain(schema):
        return satisfies(text, schema)
    # Waiting for a turn is not part of the time: others' schemas may use theirs up.
    async with anyio.to_process.current_default_process_limiter():
        with anyio.move_on_after(JUDGE_S):
            one = anyio.CapacityLimiter(1)
            return await anyio.to_process.run_sync(satisfies, text, dict(schema), cancellable=True, limiter=one)
    raise EngineFailed("The model's answer could not be checked against its schema in time.")


def _is_plain(schema: Mapping[str, Any]) -> bool:
    """Whether every value is held against a schema once, so that time is linear: judged by its words alone."""
    written = json.dumps(dict(schema))
    return '"$ref"' not in written or not any(f'"{keyword}' in written for keyword in _AGAIN)


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
