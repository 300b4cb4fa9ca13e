"""Names, moves and errors."""

import time
import uuid

import pytest

from antiphon.domain import errors
from antiphon.domain.ids import new_id
from antiphon.domain.models import ModelName
from antiphon.domain.prediction import MOVES, Prediction, Status


@pytest.mark.parametrize("text", ["a/b", "Owner-1/model.v2_x", "a/b:1", "a/b:999999999"])
def test_a_name_reads_back_as_it_was_written(text):
    assert str(ModelName.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "a/",
        "/b",
        "a/b/c",
        "a/b:",
        "a/b:0",
        "a/b:01",
        "a/b:-1",
        "a/b:1.0",
        "a b/c",
        "../b",
        "a/..",
        "a/b:1\n",
        "é/b",
        "a" * 300 + "/b",
    ],
)
def test_what_is_no_name_is_none(text):
    assert ModelName.parse(text) is None


def test_every_path_of_moves_ends_and_nothing_leaves_an_end():
    terminal = {status for status in Status if status.is_terminal}
    assert terminal == {Status.SUCCEEDED, Status.FAILED, Status.CANCELLED, Status.ABANDONED}
    for status in Status:
        for target in MOVES[status]:
            assert target.is_terminal or list(Status).index(target) > list(Status).index(status)


def test_a_move_that_is_not_in_the_table_is_refused():
    prediction = Prediction(None, "a", "m/m", 1, 0)
    with pytest.raises(ValueError, match="cannot move from pending to succeeded"):
        prediction.moved(Status.SUCCEEDED)


def every_error(kind=errors.AntiphonError):
    return [kind, *(found for child in kind.__subclasses__() for found in every_error(child))]


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_every_error_that_clients_would_repeat_says_whether_to(kind):
    """openai-python and openai-node repeat 408, 409, 429 and every 5xx twice unless told."""
    if kind is not errors.AntiphonError and (kind.status in {408, 409, 429} or kind.status >= 500):
        assert kind.should_retry is not None


def test_what_is_not_ours_is_told_as_an_internal_error_without_its_text():
    told = errors.tell(ValueError("/secret/path"))
    assert (told.status, told.said_code) == (500, "internal_error")
    assert "secret" not in told.message


def test_a_field_is_written_as_openai_writes_it():
    fault = errors.FieldFault(("body", "messages", 0, "content", 1, "text"), "", "", "")
    assert fault.param == "messages[0].content[1].text"
    assert errors.FieldFault(("body",), "", "", "").param is None


def test_ids_are_uuids_of_version_7_that_sort_by_their_time_and_are_never_given_twice():
    before = time.time_ns() // 1_000_000
    ids = [new_id() for _ in range(10_000)]
    after = time.time_ns() // 1_000_000
    assert {(one.version, one.variant) for one in ids} == {(7, uuid.RFC_4122)}
    assert all(before <= one.int >> 80 <= after for one in ids)
    assert len({one.int & ((1 << 76) - 1) for one in ids}) == len(ids)
    assert [one.int >> 80 for one in ids] == sorted(one.int >> 80 for one in ids)
