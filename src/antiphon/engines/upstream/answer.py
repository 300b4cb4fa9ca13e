"""An upstream's answer, whole or in chunks, to events: what it gets wrong is put right, what is no answer refused."""

from bisect import bisect_right
from dataclasses import replace
from itertools import accumulate

from antiphon.core.writing import ChoiceWriter
from antiphon.domain.chat import ChatRequest
from antiphon.domain.errors import EngineFailed
from antiphon.domain.events import (
    ChoiceFinished,
    Event,
    Finished,
    FinishReason,
    TextDelta,
    TokenLogprob,
)
from antiphon.engines.upstream.calls import CallPieces
from antiphon.engines.upstream.refusals import error_in_answer
from antiphon.engines.upstream.schema import Answer, Choice, Entry, Said
from antiphon.engines.upstream.usage import read_usage

_REASONS: dict[str, FinishReason] = {
    # Whether there were calls is seen from the calls.
    **dict.fromkeys(("stop", "tool_calls", "function_call", "eos", "eos_token", "end_turn", "stop_sequence"), "stop"),
    **dict.fromkeys(("length", "max_tokens", "model_length"), "length"),
    "content_filter": "content_filter",
}
"""What servers call an end, to what it is. Another one ("abort", "error") is no end of an answer."""


class AnswerReader:
    """Reads one answer; `usage` comes with its end, and choices that were not asked for are not looked at."""

    def __init__(self, request: ChatRequest) -> None:
        sampling = request.sampling
        self._choices = [_ChoiceReader(index, request) for index in range(sampling.n)]
        self._said: dict[str, object] | None = None
        self.is_over = False
        """Whether every choice has finished."""

    def feed(self, answer: Answer, out: list[Event]) -> None:
        """Take a whole answer, or the next chunk; put down what it says.

        Raises:
            EngineFailed: it is none, or says how it failed.
            ContextTooLong, Unsupported, EngineUnavailable: it says that it refuses.
        """
        if answer.error is not None:
            raise error_in_answer(answer.error)
        if answer.usage is not None:
            self._said = answer.usage
        for choice in answer.choices or ():
            if 0 <= choice.index < len(self._choices):
                reader = self._choices[choice.index]
                reader.feed(choice, out)
                if reader.is_finished:
                    self.is_over = all(one.is_finished for one in self._choices)

    def finish(self) -> Finished:
        """End it.

        Raises:
            EngineFailed: a choice has not finished: what came is not the answer.
        """
        if not self.is_over:
            raise EngineFailed("The model's server stopped in the middle of its answer.")
        return Finished(read_usage(self._said, sum(choice.reasoning_tokens for choice in self._choices)))


class _ChoiceReader:
    def __init__(self, index: int, request: ChatRequest) -> None:
        self._index, self._has_logprobs = index, request.sampling.logprobs
        self._most_top = request.sampling.top_logprobs
        stop = request.sampling.stop
        self._writer = ChoiceWriter(index, stop) if stop or self._has_logprobs else None
        """Cuts stop strings exactly, and keeps log-probabilities beside their text; None where there are neither."""
        self._calls = CallPieces(index, frozenset(tool.name for tool in request.tools.callable))
        self._tokens = self.reasoning_tokens = 0
        self._untold, self._ahead = b"", tuple[TokenLogprob, ...]()
        """Text whose last token has not come whole, and tokens whose text has not come."""
        self._is_refused = False
        self._lacks_logprobs = False
        """Whether there is text, and none of it has the log-probabilities that were asked for."""
        self.is_finished = False

    def feed(self, choice: Choice, out: list[Event]) -> None:
        if self.is_finished:
            return
        said = choice.delta or choice.message
        if said is not None and said.is_text and self._writer is None:
            self._write(said.text, out)
        else:
            self._read(choice, said, out)
        if choice.finish_reason and not self.is_finished:
            reason = _REASONS.get(choice.finish_reason)
            if reason is None:
                raise EngineFailed("The model's server gave up.")
            self._end("content_filter" if self._is_refused else reason, out)

    def _read(self, choice: Choice, said: Said | None, out: list[Event]) -> None:
        if said is not None:
            self._think(said, out)
        if self._has_logprobs:
            self._write_scored(choice, said.text if said else "", out)
        elif said is not None and said.text:
            self._write(said.text, out)
        if said is not None and not self.is_finished:  # What stands behind a stop string was never said.
            self._call(said, out)

    def _think(self, said: Said, out: list[Event]) -> None:
        if thought := said.reasoning_content or said.reasoning:
            self._tokens += 1
            self.reasoning_tokens += 1
            out.append(TextDelta(self._index, thought, 1, is_reasoning=True))
        self._is_refused |= bool(said.refusal)

    def _call(self, said: Said, out: list[Event]) -> None:
        for place, call in enumerate(said.calls):
            self._tokens += 1
            out.extend(self._calls.take(call, place))

    def _write(self, text: str, out: list[Event]) -> None:
        if self._writer is None:
            self._tokens += 1
            out.append(TextDelta(self._index, text, 1))
            return
        delta, stopped = self._writer.add(text.encode())
        self._told(delta, out, stopped=stopped)

    def _write_scored(self, choice: Choice, said: str, out: list[Event]) -> None:
        text, tokens = self._paired(choice, said.encode())
        if self._writer is None or not (text or tokens):
            return
        self._lacks_logprobs = not tokens and (self._lacks_logprobs or not self._tokens)
        if not tokens or b"".join(token.bytes for token in tokens) != text:
            # Tokens that are not the text: it goes as one piece, and they go with it.
            delta, stopped = self._writer.add(text)
            if tokens and delta:
                delta = replace(delta, logprobs=tokens)
            self._told(delta, out, stopped=stopped)
            return
        for token in tokens:
            delta, stopped = self._writer.add(token.bytes, token)
            self._told(delta, out, stopped=stopped)
            if stopped:
                return

    def _paired(self, choice: Choice, said: bytes) -> tuple[bytes, tuple[TokenLogprob, ...]]:
        """Give text and its tokens, of what has come and was not given yet.

        vLLM tells tokens before their text where a stop string might begin, and at last the token that ended it all.
        """
        entries = choice.logprobs.content if choice.logprobs else None
        text, tokens = self._untold + said, self._ahead + tuple(_logprob(one, self._most_top) for one in entries or ())
        self._untold, self._ahead = b"", ()
        if not b"".join(token.bytes for token in tokens).startswith(text):
            return text, tokens
        ends = list(accumulate(len(token.bytes) for token in tokens))
        count = bisect_right(ends, len(text))
        if choice.finish_reason:
            return text, tokens[:count] if _REASONS.get(choice.finish_reason) == "stop" else tokens
        size = ends[count - 1] if count else 0
        self._untold, self._ahead = text[size:], tokens[count:]
        return text[:size], tokens[:count]

    def _told(self, delta: TextDelta | None, out: list[Event], *, stopped: bool) -> None:
        if delta is not None:
            self._tokens += delta.tokens
            out.append(delta)
        if stopped:
            self._end("stop", out)

    def _end(self, reason: FinishReason, out: list[Event]) -> None:
        if self._writer is not None and (rest := self._writer.finish()):
            self._tokens += rest.tokens
            out.append(rest)
        out.extend(self._calls.finish())
        if self._lacks_logprobs:
            raise EngineFailed("The model's server gave no log-probabilities.")
        self.is_finished = True
        out.append(ChoiceFinished(self._index, reason, self._tokens))


def _logprob(entry: Entry, most_top: int = 0) -> TokenLogprob:
    try:
        piece = bytes(entry.bytes) if entry.bytes is not None else entry.token.encode()
    except ValueError:  # no bytes
        piece = entry.token.encode()
    top = tuple(map(_logprob, (entry.top_logprobs or ())[:most_top]))
    return TokenLogprob(entry.token, piece, entry.logprob, top)
