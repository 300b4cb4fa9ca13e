"""Several choices from an engine that gives one at a time: as many calls, side by side, told as one answer."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import fields, replace

import anyio
from anyio.abc import ObjectSendStream

from antiphon.core.groups import companions
from antiphon.core.ports import Engine, Work
from antiphon.domain.events import Accepted, Batch, Event, Finished, Usage
from antiphon.domain.ids import new_id

AHEAD = 16
"""How many batches may wait for whoever reads them."""
SEEDS = 1 << 63


@asynccontextmanager
async def fanned(engine: Engine, work: Work) -> AsyncGenerator[AsyncIterator[Batch]]:
    """Ask for each of a call's choices by a call of its own; leaving the body stops them all.

    Each has an id of its own, and its own seed, derived from the request's. The prompt is counted once, however often
    it is read.
    """
    out, told = anyio.create_memory_object_stream[tuple[int, Batch | Exception]](AHEAD)
    with told:
        async with companions() as group:
            for choice in range(work.request.sampling.n):
                group.start_soon(_ask, engine, _single(work, choice), choice, out.clone())
            out.close()
            yield _merged(told)


def _single(work: Work, choice: int) -> Work:
    sampling = work.request.sampling
    seed = None if sampling.seed is None else (sampling.seed + choice + SEEDS) % (2 * SEEDS) - SEEDS
    return replace(
        work,
        prediction_id=new_id() if choice else work.prediction_id,
        request=replace(work.request, sampling=replace(sampling, n=1, seed=seed)),
    )


async def _ask(engine: Engine, work: Work, choice: int, out: ObjectSendStream[tuple[int, Batch | Exception]]) -> None:
    async with out:
        try:
            async with engine.stream(work) as batches:
                async for batch in batches:
                    await out.send((choice, batch))
        except Exception as error:  # noqa: BLE001 - raised again where the events are read
            await out.send((choice, error))


async def _merged(told: AsyncIterator[tuple[int, Batch | Exception]]) -> AsyncIterator[Batch]:
    """Give the events under their choices' numbers, accepted once and finished once.

    Raises:
        Exception: the first thing that went wrong with any of them.
    """
    is_accepted = False
    counted: list[Usage | None] = []
    async for choice, batch in told:
        if isinstance(batch, Exception):
            raise batch
        merged: list[Event] = []
        for event in batch:
            match event:
                case Accepted():
                    merged += [] if is_accepted else [event]
                    is_accepted = True
                case Finished():
                    counted.append(event.usage)
                case _:
                    merged.append(replace(event, choice=choice))
        yield merged
    yield [Finished(_together(counted))]


def _together(counted: list[Usage | None]) -> Usage | None:
    """What all cost together; of the prompt, what the first of them says."""
    usages = [usage for usage in counted if usage]
    if not usages or len(usages) < len(counted):
        return None
    prompt = {"prompt_tokens", "cached_tokens", "prompt_audio_tokens"}
    sums = {
        field.name: sum(getattr(usage, field.name) for usage in usages)
        for field in fields(Usage)
        if field.name not in prompt
    }
    return replace(usages[0], **sums)
