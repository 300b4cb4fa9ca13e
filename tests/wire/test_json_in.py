"""Bytes to a tree: what is good is read as it was meant, however it is written; what is not is told by its fault."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.domain.errors import InvalidRequest
from antiphon.wire.json_in import Limits, read_json

NUMBERS = st.integers(-(10**398), 10**398) | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(["1e999", '{"a":1,"a":2}', "\\", '\\"', ""])
TREES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
)
STYLES = ({}, {"ensure_ascii": False}, {"separators": (",", ":")}, {"indent": 2})


def exactly(tree):
    """A tree as text in which 1, 1.0, True, 0.0 and -0.0 differ, and so does the order of keys."""
    return repr(tree)


@given(TREES, st.sampled_from(STYLES))
def test_any_tree_is_read_as_it_was_however_it_is_written(tree, style):
    assert exactly(read_json(json.dumps(tree, **style).encode(), Limits())) == exactly(tree)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("-0", 0),
        ("-0.0", -0.0),
        ("1E5", 100000.0),
        ("1e-999", 0.0),
        ("1e00308", 1e308),
        ("9" * 400, int("9" * 400)),
        ("9" * 308 + ".0", float("9" * 308)),
        ("9" * 209 + "e99", float("9" * 209 + "e99")),
        ("1.7976931348623157e308", 1.7976931348623157e308),
        ("5e-324", 5e-324),
        ('"\\ud83d\\ude00"', "\U0001f600"),
        ('"\\u0000"', "\0"),
    ],
)
def test_a_value_at_the_edge_is_read_exactly(written, read):
    assert exactly(read_json(b'{"a":[%b]}' % written.encode(), Limits())) == exactly({"a": [read]})


MANY = ",".join(f'"{number}":0' for number in range(5_001))


@pytest.mark.parametrize(
    ("written", "kind", "param"),
    [
        ('{"b":1,"b":1}', "duplicate_key", None),
        ('{"b":1,"\\u0062":1}', "duplicate_key", None),
        ("1e309", "finite_number", None),
        ("-1E+0999", "finite_number", None),
        ("9" * 309 + ".0", "finite_number", None),
        ("9" * 210 + "e99", "finite_number", None),
        ("9" * 401, "finite_number", None),
        ("NaN", "finite_number", None),
        ("-Infinity", "finite_number", None),
        ('"\\ud800"', "string_unicode", "a[0]"),
        ('{"\\udc00":1}', "string_unicode", "a[0]"),
        ('"\\ud83d\\ud83d"', "string_unicode", "a[0]"),
        ("{" + MANY + "}", "too_many_values", None),
        ("[" * 64 + "]" * 64, "json_invalid", None),
        ("[" * 63, "json_invalid", None),
        ("01", "json_invalid", None),
        ("1.", "json_invalid", None),
        ('"\n"', "json_invalid", None),
        ("1,", "json_invalid", None),
        ("/**/1", "json_invalid", None),
    ],
    ids=lambda given: given and f"{len(given)}-{given[-8:]!r}",
)
def test_what_is_wrong_is_told_by_its_kind_and_place(written, kind, param):
    with pytest.raises(InvalidRequest) as caught:
        read_json(b'{"a":[%b]}' % written.encode(), Limits())
    (fault,) = caught.value.faults
    assert (fault.type, fault.param and fault.param.partition("[0]")[0] + "[0]") == (kind, param)


def test_no_number_that_is_read_is_infinite():
    for digits in (199, 200, 201, 308, 309, 310):
        for exponent in ("", "e0", "e99", "e100", "E+100", "e-100"):
            try:
                (read,) = read_json(f"[{'9' * digits}.0{exponent}]".encode(), Limits())
            except InvalidRequest:
                continue
            assert math.isfinite(read)
