"""What becomes of a child that does not do its job, and of those who ask for the next one."""

import contextlib
from typing import cast

import pytest

from antiphon.domain.errors import EngineUnavailable
from antiphon.media.child import Child, ChildDown, ChildFailed, Limits
from antiphon.media.jobs import Picture, Result
from antiphon.media.lab import Lab

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
    with contextlib.closing(Lab((child,))) as lab, pytest.raises(EngineUnavailable):
        await lab.sound(b"fLaC" + bytes(14) + b"\x03\xe8\x00\xf0\x00\x00\x00\x01")
