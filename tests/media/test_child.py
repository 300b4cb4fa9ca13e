"""What becomes of a child that does not do its job, and of those who ask for the next one."""

import contextlib
from typing import cast

import numpy as np
import pytest

from antiphon.domain.errors import EngineUnavailable
from antiphon.media import lab as lab_module
from antiphon.media.child import Child, ChildDown, ChildFailed, Limits
from antiphon.media.jobs import Picture, Result

pytestmark = pytest.mark.anyio
JOB = Picture(b"", "PNG", 1, 1)


@pytest.fixture
def anyio_backend():
    return "asyncio"


async def test_jobs_that_end_their_child_do_not_keep_it_from_the_next_ones():
    child = Child[Result]("antiphon.media.worker", (), cast("type[Result]", Result), Limits(job_s=0.0))
    async with child.open():
        for _ in range(4):
            with pytest.raises(ChildFailed) as failed:
                await child.do(JOB)
            assert not isinstance(failed.value, ChildDown), "it is left alone"


async def test_a_child_that_does_not_start_is_no_fault_of_what_it_was_to_decode():
    child = Child[Result]("antiphon.media.none", (), cast("type[Result]", Result), Limits(job_s=1.0))
    with contextlib.closing(lab_module.Lab((child,))) as lab, pytest.raises(EngineUnavailable):
        await lab.sound(b"fLaC" + bytes(14) + b"\x03\xe8\x00\xf0\x00\x00\x00\x01")


@pytest.mark.parametrize(
    ("minutes", "job_s"), [(3, 0.0), pytest.param(25, lab_module.JOB_S, marks=pytest.mark.long)], ids=["short", "long"]
)
async def test_a_long_speech_is_given_the_time_that_it_takes_to_encode(monkeypatch, minutes, job_s):
    monkeypatch.setattr(lab_module, "JOB_S", job_s)
    noise = np.random.default_rng(1).integers(-9_000, 9_000, minutes * 60 * 24_000, np.int16).tobytes()
    async with lab_module.open_lab() as lab:
        assert len(await lab.encode(noise, "mp3")) > minutes * 60 * 2_000
