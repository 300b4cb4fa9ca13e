"""Schemas that are small to write and endless to follow."""

import pytest

from antiphon.wire.schema_spread import spreads_too_far


def doubled(keyword, steps):
    links = {f"a{step}": {keyword: [{"$ref": f"#/$defs/a{step + 1}"}] * 2} for step in range(steps)}
    return {"$defs": {**links, f"a{steps}": {"type": "null"}}, "$ref": "#/$defs/a0"}


@pytest.mark.parametrize("keyword", ["allOf", "anyOf", "oneOf"])
def test_references_that_double_at_each_step_are_found(keyword):
    assert spreads_too_far(doubled(keyword, 60))
    assert not spreads_too_far(doubled(keyword, 6))


def test_a_union_of_a_thousand_and_a_kind_of_itself_are_left_alone():
    kinds = [{"type": "object", "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}} for _ in range(1_000)]
    assert not spreads_too_far({"anyOf": kinds})


def test_a_chain_too_long_to_follow_is_found_and_is_no_fault_of_ours():
    chain = {f"a{step}": {"$ref": f"#/$defs/a{step + 1}"} for step in range(2_000)}
    assert spreads_too_far({"$defs": chain, "$ref": "#/$defs/a0"})
