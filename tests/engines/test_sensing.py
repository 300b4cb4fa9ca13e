"""The thread that encodes: what it hands on, what it refuses, and what it leaves be."""

import threading

import numpy as np
import pytest

from antiphon.engines.llamacpp.protocol import Ended, Picture, Turn
from antiphon.engines.llamacpp.senses import Senses
from antiphon.engines.llamacpp.sensing import Sensing
from tests.engines import tiny_model, tiny_sight
from tests.engines.inside import Engine, picture, sound
from tests.engines.test_marks import start


@pytest.fixture(scope="module")
def senses(tmp_path_factory, weights):
    home = tmp_path_factory.mktemp("sensing")
    model = tiny_model.write(home / "model.gguf", weights[0], kind="qwen2")
    return Engine(model, tiny_sight.write_hearing(home / "hearing.gguf", width=tiny_model.WIDTH)).senses


class Desk:
    """Where requests come out."""

    def __init__(self, senses):
        self.done, self.refused, self._came = [], [], threading.Semaphore(0)
        self.sensing = Sensing(senses, self._take, self._refuse)

    def _take(self, connection, request, taken):
        self.done.append((request.id, [len(turn) for turn in taken]))
        self._came.release()

    def _refuse(self, connection, ended):
        self.refused.append(ended)
        self._came.release()

    def wait(self, count):
        for _ in range(count):
            assert self._came.acquire(timeout=20)


def asked(name, *media):
    turns = (Turn("user", "", media=media[:1]), Turn("user", "", media=media[1:]))
    request = start(*turns, tools="")
    return type(request)(**{field: getattr(request, field) for field in request.__struct_fields__} | {"id": name})


def test_requests_are_handed_on_message_by_message_in_their_order(senses):
    desk = Desk(senses)
    desk.sensing.add(None, asked(b"a", sound(1), sound(2), sound(3)))
    desk.sensing.add(None, asked(b"b", sound(1)))
    desk.wait(2)
    assert (desk.done, desk.refused) == ([(b"a", [1, 2]), (b"b", [1, 0])], [])


def test_one_that_nobody_waits_for_any_more_ends_without_being_encoded(senses):
    desk = Desk(senses)
    desk.sensing.add(None, asked(b"a", sound(20, 60), sound(21)))
    desk.sensing.add(None, asked(b"b", sound(22)))
    known = len(senses._kept)
    assert desk.sensing.cancel(b"a")
    assert desk.sensing.cancel(b"b")
    desk.wait(2)
    assert (desk.done, desk.refused) == ([], [Ended(b"a"), Ended(b"b")])
    assert len(senses._kept) <= known + 1
    assert not desk.sensing.cancel(b"a")


class Held(Senses):
    """Encodes nothing before it is let."""

    began, may_go_on = threading.Event(), threading.Event()

    def take(self, medium):
        self.began.set()
        assert self.may_go_on.wait(20)
        return super().take(medium)


def test_one_that_is_cancelled_while_its_last_sound_is_encoded_is_not_handed_on(senses):
    held = Held(senses._projector)
    desk = Desk(held)
    desk.sensing.add(None, asked(b"a", sound(23)))
    assert held.began.wait(20)
    assert desk.sensing.cancel(b"a")
    held.may_go_on.set()
    desk.wait(1)
    assert (desk.done, desk.refused) == ([], [Ended(b"a")])


def test_what_cannot_be_encoded_ends_its_own_request_only(senses):
    desk = Desk(senses)
    desk.sensing.add(None, asked(b"a", picture(1)))
    desk.sensing.add(None, asked(b"b", "no medium at all"))
    desk.sensing.add(None, asked(b"c", sound(1)))
    desk.wait(3)
    (unfit, broken) = desk.refused
    assert (unfit.id, unfit.error) == (b"a", "medium")
    assert (broken.id, broken.error) == (b"b", "failed")
    assert desk.done == [(b"c", [1, 0])]


def test_a_picture_of_more_places_than_a_batch_holds_is_not_taken(tmp_path, weights):
    """llama.cpp would end the process."""
    model = tiny_model.write(tmp_path / "model.gguf", weights[0], kind="qwen2")
    engine = Engine(model, tiny_sight.write_gemma(tmp_path / "gemma.gguf", width=tiny_model.WIDTH))
    engine.senses.most_at_once = tiny_sight.GEMMA_PLACES - 1
    desk = Desk(engine.senses)
    desk.sensing.add(None, asked(b"a", Picture(0, 8, 8, np.zeros(192, np.uint8).tobytes())))
    desk.wait(1)
    assert desk.refused == [Ended(b"a", "medium", "The model cannot look at this picture.")]
