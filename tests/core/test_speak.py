"""An answer that is spoken while it is written, where things go wrong."""

import anyio
import pytest

from antiphon.core.senses import NoSenses
from antiphon.core.speak import spoken
from antiphon.domain.errors import EngineFailed
from antiphon.domain.events import Accepted, TextDelta
from antiphon.domain.media import Speech

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


class Hoarse(NoSenses):
    """A voice that dies of its first sentence."""

    async def say(self, text, voice):
        raise EngineFailed("The voice stopped.")


async def talk(count):
    yield [Accepted(1, cached_tokens=0)]
    for _ in range(count):
        yield [TextDelta(0, "One sentence. ", 2)]


async def read_slowly(events):
    async with spoken(events, Speech("a", "pcm16"), Hoarse(), choices=1, is_streamed=True) as told:
        async for _ in told:
            await anyio.sleep(0.02)


@pytest.mark.parametrize("count", [5, 14, 15, 16, 17, 100])
async def test_a_voice_that_dies_is_told_as_such_to_a_reader_who_is_behind(count):
    with pytest.raises(EngineFailed):
        await read_slowly(talk(count))
