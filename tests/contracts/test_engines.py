"""What every engine keeps, whichever it is: one suite over the port."""

import contextlib
from uuid import uuid4

import anyio
import pytest
from anyio.from_thread import start_blocking_portal

from antiphon.core.contract import ADAPTED
from antiphon.core.fanout import fanned
from antiphon.core.fold import Fold
from antiphon.core.ports import Work
from antiphon.domain.chat import ChatRequest, Message
from antiphon.domain.errors import ContextTooLong
from antiphon.domain.events import Accepted, ChoiceFinished, Finished, TextDelta
from antiphon.domain.models import ModelName
from antiphon.domain.sampling import Sampling
from antiphon.engines.llamacpp.child import Options
from antiphon.engines.llamacpp.engine import LlamaCppEngine
from antiphon.engines.scripted import ScriptedEngine
from tests.contracts.remote import REMOTE
from tests.real_vllm import needs_vllm

SAMPLING = {
    *("frequency_penalty", "logit_bias", "logprobs", "max_completion_tokens", "n", "presence_penalty", "seed", "stop"),
    *("temperature", "top_logprobs", "top_p"),
}


class Stand:
    """An engine that runs in a thread of its own, and what a test does with it."""

    def __init__(self, portal, engine, running):
        self.portal, self.engine, self._running = portal, engine, running

    def events(self, text="Tell me about the sea.", until=lambda event: False, **sampling):
        """Give the events of a call, left after the first that `until` is true of."""
        return self.portal.call(self._events, work(text, **sampling), until)

    async def _events(self, one, until):
        events = []
        sampling = one.request.sampling
        is_alone = sampling.n == 1 or "n" in self.engine.features
        async with self.engine.stream(one) if is_alone else fanned(self.engine, one) as stream:
            async for batch in stream:
                events += batch
                if any(map(until, batch)):
                    break
        return events

    def together(self, works):
        async def run():
            answers = {}

            async def answer(one):
                answers[one.prediction_id] = await self._events(one, lambda event: False)

            async with anyio.create_task_group() as group:
                for one in works:
                    group.start_soon(answer, one)
            return answers

        return self.portal.call(run)

    def running(self):
        return self.portal.call(self._running, self.engine)


def work(text="Tell me about the sea.", **sampling):
    sampling = Sampling(**({"max_tokens": 16, "temperature": 0.0, "seed": 1} | sampling))
    messages = (Message("user", text),)
    return Work(uuid4(), "a", ChatRequest(ModelName("a", "b"), "a/b", messages, sampling, stream=True))


def folded(events, n=1):
    fold = Fold(n)
    for event in events:
        fold.add(event)
    return fold


async def scripted_running(engine):
    return engine.running


async def llamacpp_running(engine):
    return (await engine.inspect()).requests


ENGINES = ["scripted", "llamacpp", "antiphon", "llama-server", pytest.param("vllm", marks=needs_vllm)]


@pytest.fixture(scope="module", params=ENGINES)
def stand(request, tmp_path_factory):
    with contextlib.ExitStack() as stack:
        home = tmp_path_factory.mktemp("run", numbered=True)
        if request.param == "scripted":
            engine, running = ScriptedEngine({"repeat": 50, "token_s": 0.002, "context_tokens": 500}), scripted_running
        elif request.param == "llamacpp":
            path, _ = request.getfixturevalue("weights")
            engine = LlamaCppEngine(Options("a/b", path, home, slots=4, context_tokens=512, threads=1))
            running = llamacpp_running
        else:
            engine, running = stack.enter_context(REMOTE[request.param](request, home))
        portal = stack.enter_context(start_blocking_portal())
        stack.enter_context(portal.wrap_async_context_manager(engine.open()))
        yield Stand(portal, engine, running)


def test_it_is_ready_once_it_is_open_and_names_what_it_can_do(stand):
    assert stand.engine.state.is_ready
    assert set(stand.engine.features) | set(ADAPTED) >= SAMPLING


def test_an_answer_is_accepted_first_and_finished_last(stand):
    events = stand.events()
    assert isinstance(events[0], Accepted)
    assert isinstance(events[-1], Finished)
    assert isinstance(events[-2], ChoiceFinished)
    assert folded(events).is_finished


def test_every_choice_says_something_and_finishes_once(stand):
    events = stand.events(n=3)
    assert sorted(event.choice for event in events if isinstance(event, ChoiceFinished)) == [0, 1, 2]
    assert all(choice.text for choice in folded(events, 3).completion.choices)


def test_the_counts_of_the_pieces_add_up_to_the_usage(stand):
    events = stand.events(n=2)
    fold = folded(events, 2)
    pieces = sum(event.tokens for event in events if isinstance(event, TextDelta))
    ends = sum(choice.reason == "stop" for choice in fold.completion.choices)
    # An engine that counts at the end may tell less before.
    least = 1 if events[-1].usage else fold.usage.completion_tokens - ends
    assert least <= pieces <= fold.usage.completion_tokens
    lengths = [choice.reason for choice in fold.completion.choices].count("length")
    assert fold.usage.completion_tokens >= 16 * lengths
    assert 0 <= fold.usage.cached_tokens <= fold.usage.prompt_tokens
    assert fold.usage.prompt_tokens > 0


@pytest.mark.parametrize("count", [1, 7])
def test_the_most_tokens_are_reached_exactly_and_said_to_be_the_reason(stand, count):
    fold = folded(stand.events(max_tokens=count))
    assert fold.usage.completion_tokens == count
    assert fold.completion.choices[0].reason == "length"


def test_a_stop_string_ends_the_text_and_is_no_part_of_it(stand):
    text = folded(stand.events()).completion.choices[0].text
    stop = text[5:8]
    choice = folded(stand.events(stop=(stop,))).completion.choices[0]
    assert choice.text == text[: text.index(stop)]
    assert choice.reason == "stop"


def test_the_bytes_of_the_log_probabilities_join_to_the_text(stand):
    choice = folded(stand.events(logprobs=True, top_logprobs=2)).completion.choices[0]
    assert b"".join(entry.bytes for entry in choice.logprobs).decode() == choice.text
    assert all(entry.logprob <= 0 for entry in choice.logprobs)


@pytest.mark.parametrize("kind", [Accepted, TextDelta])
def test_leaving_stops_what_runs_before_it_returns(stand, kind):
    stand.events(until=lambda event: isinstance(event, kind), max_tokens=None, n=2)
    assert stand.running() == 0


def test_a_prompt_that_does_not_fit_is_refused_before_it_is_accepted(stand):
    with pytest.raises(ContextTooLong) as caught:
        stand.events("word " * 600)
    assert caught.value.param == "messages"
    assert stand.running() == 0


def test_calls_that_run_at_once_each_get_their_own_answer(stand):
    works = [work(f"Count from {number}.", n=1 + number % 2, max_tokens=4 + number) for number in range(12)]
    answers = stand.together(works)
    for one in works:
        sampling = one.request.sampling
        fold = folded(answers[one.prediction_id], sampling.n)
        assert fold.is_finished
        assert fold.usage.completion_tokens <= sampling.n * sampling.max_tokens
    assert stand.running() == 0
