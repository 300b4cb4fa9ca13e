"""Our own verdict on an answer, whatever an engine may write."""

import json
import time

import anyio
import pytest

from antiphon.core import schemas
from antiphon.core.schemas import judge, satisfies
from antiphon.domain.errors import EngineFailed


@pytest.mark.parametrize(
    ("text", "schema", "verdict"),
    [
        (r'"\ud800"', {"type": "string", "maxLength": 1}, True),
        (r'"\udc00\ud83d\ude00"', {"type": "string", "maxLength": 2}, True),
        (r'"\ud83d\ude00"', {"const": "\U0001f600"}, True),
        (r'"\\ud800"', {"const": r"\ud800"}, True),
        (r'{"\udfff": 1}', {"additionalProperties": {"type": "integer"}}, True),
        (r'{"\udfff": 1}', {"additionalProperties": False}, False),
        ("[" * 5_000 + "]" * 5_000, {}, False),
    ],
)
def test_there_is_a_verdict_on_halves_of_characters_and_on_what_nests_too_deeply(text, schema, verdict):
    assert satisfies(text, schema) is verdict


def doubling(levels):
    """A schema that two alternatives a level lead through, and the answer that fits the last of them all."""
    defs = {f"n{levels}": {"type": "integer"}}
    answer = 1
    for level in range(levels):
        inner = {"$ref": f"#/$defs/n{level + 1}"}
        ways = [{"properties": {"a": inner, "z": {"const": way}}, "required": ["a", "z"]} for way in (1, 2)]
        defs[f"n{level}"] = {"anyOf": ways}
        answer = {"a": answer, "z": 2}
    return {"$defs": defs, "$ref": "#/$defs/n0"}, json.dumps(answer)


def test_a_verdict_that_would_take_for_ever_is_given_up_and_holds_nobody_up(monkeypatch):
    monkeypatch.setattr(schemas, "JUDGE_S", 1.0)
    schema, answer = doubling(30)
    longest = 0.0

    async def watch():
        nonlocal longest
        while True:
            begun = time.monotonic()
            await anyio.sleep(0.01)
            longest = max(longest, time.monotonic() - begun)

    async def run():
        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            with pytest.raises(EngineFailed, match="in time"):
                await judge(answer, schema)
            group.cancel_scope.cancel()

    anyio.run(run)
    assert longest < 0.5


@pytest.mark.parametrize("levels", [2, 6])
def test_a_schema_of_alternatives_and_references_is_judged_like_any_other(levels):
    schema, answer = doubling(levels)

    async def run():
        return await judge(answer, schema), await judge(answer.replace("1", "0.5"), schema)

    assert anyio.run(run) == (True, False)
