"""Our own verdict on an answer, whatever an engine may write."""

import pytest

from antiphon.core.schemas import satisfies


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
