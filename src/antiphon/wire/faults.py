"""The validator's findings in the words of the API: where a client would look, what OpenAI calls it, nothing echoed."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from antiphon.domain.faults import FieldFault
from antiphon.wire.json_in import shown

MOST_FAULTS = 20

_CODES: Mapping[str, str] = MappingProxyType(
    {
        "extra_forbidden": "unknown_parameter",
        "finite_number": "invalid_value",
        "int_from_float": "invalid_type",
        "int_parsing_size": "invalid_value",
        "literal_error": "invalid_value",
        "missing": "missing_required_parameter",
        "string_pattern_mismatch": "invalid_value",
        "string_too_long": "string_above_max_length",
        "string_too_short": "string_below_min_length",
        "string_unicode": "invalid_value",
        "union_tag_invalid": "invalid_value",
    }
)
"""The validator's type of finding, to OpenAI's code; every other type is one of a wrong type."""

_MAPS = frozenset({"logit_bias", "metadata"})
"""Fields whose keys a client makes up."""

_TYPES = frozenset({"string_type", "list_type", "dict_type", "model_type", "model_attributes_type", "literal_error"})
"""Findings that only say: this is not that branch of a union."""


def faults(errors: Sequence[Mapping[str, Any]], body: Any) -> tuple[FieldFault, ...]:
    """Give pydantic's errors about a body as findings, in order, one a place, MOST_FAULTS at most."""
    all_found = [_fault(error, body) for error in errors[: 5 * MOST_FAULTS]]
    found: dict[tuple[str | int, ...], FieldFault] = {}
    for fault in all_found:
        if fault.type not in _TYPES or not any(_is_meant(other, fault) for other in all_found):
            found.setdefault(fault.loc, fault)
    return tuple(found.values())[:MOST_FAULTS]


def _is_meant(other: FieldFault, fault: FieldFault) -> bool:
    """Whether another finding is of the branch of a union that was meant, and this one of another branch.

    A union reports every branch it tried. What is found of substance, or further within, is of the one that was meant.
    """
    depth = len(fault.loc)
    return other.loc[:depth] == fault.loc and (other.type not in _TYPES or len(other.loc) > depth)


def _fault(error: Mapping[str, Any], body: Any) -> FieldFault:
    kind = error["type"]
    loc = ("body", *_place(error, body))
    if kind == "union_tag_not_found":
        return FieldFault(loc, "Field required", "missing", "missing_required_parameter")
    if kind == "union_tag_invalid":
        expected = error.get("ctx", {}).get("expected_tags", "")
        return FieldFault(loc, f"Input should be one of {expected}", kind, "invalid_value")
    return FieldFault(loc, error["msg"], kind, _code(kind, error.get("input")))


def _code(kind: str, value: object) -> str:
    if kind in {"greater_than_equal", "greater_than", "less_than_equal", "less_than"}:
        unit = "decimal" if isinstance(value, float) else "integer"
        return f"{unit}_{'below_min' if kind.startswith('greater') else 'above_max'}_value"
    if kind == "too_long":
        return "object_above_max_properties" if isinstance(value, dict) else "array_above_max_length"
    if kind == "too_short":
        return "empty_array"
    return _CODES.get(kind, "invalid_type")


def _place(error: Mapping[str, Any], body: Any) -> tuple[str | int, ...]:
    """The error's place in what was sent; the validator's own steps, names of branches and tags, are not there."""
    place: list[str | int] = []
    here = body
    *steps, last = error["loc"] or ("",)
    for step in (*steps, last):
        is_key = isinstance(here, dict) and step in here
        if is_key or (isinstance(here, list) and isinstance(step, int) and step < len(here)):
            if here is body and step in _MAPS:  # its keys are what was sent, and none of ours
                return (step,)
            here = here[step]
            place.append(shown(step))
    if error["type"] == "missing":
        place.append(last)
    elif error["type"].startswith("union_tag"):
        place.append(error["ctx"]["discriminator"].strip("'"))
    return tuple(place)
