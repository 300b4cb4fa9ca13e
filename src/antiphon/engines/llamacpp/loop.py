"""The crank: take requests, build a batch, decode, draw, tell; then again. One thread owns everything here."""

import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from antiphon.domain.events import TextDelta, TokenLogprob
from antiphon.engines.llamacpp.binding import ABORTED, NO_SLOT
from antiphon.engines.llamacpp.filling import fill
from antiphon.engines.llamacpp.layout import Floats
from antiphon.engines.llamacpp.memory import Memory
from antiphon.engines.llamacpp.model import Context, Vocabulary
from antiphon.engines.llamacpp.protocol import Accepted, ChoiceEnded, Ended, FromChild, Logprob, State, Text
from antiphon.engines.llamacpp.request import Choice, NothingFits, Request
from antiphon.engines.llamacpp.sample import Scored
from antiphon.engines.llamacpp.schedule import Chunk, Line, Pace, Turns

ABORT_TOKENS = 32
"""A running batch of more tokens than this is aborted when its request is cancelled; a smaller one ends soon enough."""


@dataclass(frozen=True, slots=True)
class Room:
    """How much there may be of everything."""

    slots: int
    """Choices at once."""
    context_tokens: int
    """In one sequence."""
    prefix_tokens: int
    """Remembered of ended sequences."""
    batch_tokens: int
    """In one decode; a picture that must be read at once may take more."""


Tell = Callable[[Hashable, FromChild], None]
"""Gives a message to the connection a request came by."""


class DecodeFailed(Exception):
    """llama.cpp failed in a way that leaves its memory unknown: the process must not go on."""


class Loop:
    """Runs requests on one context."""

    def __init__(self, context: Context, vocabulary: Vocabulary, room: Room, tell: Tell) -> None:
        self._context, self._vocabulary, self._tell = context, vocabulary, tell
        self._context_tokens, self._slots = room.context_tokens, room.slots
        self._memory = Memory(context, room.prefix_tokens)
        self._pace = Pace(room.batch_tokens)
        self._waiting: deque[Request] = deque()
        self._requests: dict[bytes, Request] = {}
        self._choices: dict[int, list[Choice]] = {}
        """The choices a line will feed once it is read: all of a request's for its first line, one each later."""
        self._batch: frozenset[bytes] = frozenset()
        """The requests in the batch that is being decoded, when it is large enough to be worth aborting."""
        self._read = self._generated = self._steps = 0
        self._turns = Turns()

    # -- from outside; `cancel` and `state` may be called by any thread

    def add(self, request: Request) -> None:
        """Take a request."""
        self._requests[request.start.id] = request
        self._waiting.append(request)

    def cancel(self, request_id: bytes) -> bool:
        """Mark a request to be stopped, and break off the batch that is reading it; False when it is not here."""
        request = self._requests.get(request_id)
        if request is None:
            return False
        request.is_cancelled = True
        if request_id in self._batch:
            self._context.abort()
        return True

    @property
    def state(self) -> State:
        """Counts of what is going on."""
        live = list(self._memory.lines.live.values())
        return State(
            requests=len(self._requests),
            reading=sum(line.unread > 1 for line in live),
            decoding=sum(line.unread <= 1 for line in live),
            remembered=self._memory.remembered,
            read_tokens=self._read,
            generated_tokens=self._generated,
            steps=self._steps,
        )

    # -- the crank

    def step(self) -> bool:
        """Do one round; False when there was nothing to do.

        Raises:
            DecodeFailed: llama.cpp failed.
        """
        self._sweep()
        self._begin()
        chunks = self._turns.next(self._memory.lines.live.values(), self._pace, self._guess)
        if not chunks:
            return False
        self._steps += 1
        if self._decode(chunks):
            self._advance(chunks)
        return True

    def _sweep(self) -> None:
        """End what was cancelled."""
        for request in [request for request in self._requests.values() if request.is_cancelled]:
            if request in self._waiting:
                self._waiting.remove(request)
            for choice in request.choices:
                self._close(choice)
            self._end(request)

    def _begin(self) -> None:
        """Start waiting requests, in order, while there are slots for all their choices."""
        while self._waiting and not self._memory.lines.are_crowded:
            request = self._waiting[0]
            running = sum(len(choices) for choices in self._choices.values())
            if running + request.start.n > self._slots:
                return
            self._waiting.popleft()
            start = request.start
            prompt, layout, is_seeded = list(request.prompt), request.layout, start.seed is not None
            line = self._memory.open(start.account, prompt, layout, is_seeded=is_seeded)
            request.choices = [request.choice(index, line) for index in range(start.n)]
            self._choices[line.id] = list(request.choices)
            is_thinking = bool(request.thinking and request.thinking.is_open)
            counts = (len(request.prompt), line.read, is_thinking, layout.sound_places)
            self._tell(request.connection, Accepted(start.id, *counts))

    def _decode(self, chunks: list[Chunk]) -> bool:
        """Run a batch; False when it did not run and everything is as it was before, but for the room made for it."""
        count = fill(self._context, chunks)
        if count > ABORT_TOKENS:
            owners = [choice.request for chunk in chunks for choice in self._choices[chunk.line.id]]
            self._batch = frozenset(request.start.id for request in owners)
            # A cancel that came before this line did not see the batch; its mark is seen here instead.
            if any(request.is_cancelled for request in owners):
                self._batch = frozenset()
                return False
        begun, ahead = time.perf_counter(), chunks[0].line.ahead
        verdict = self._context.decode(count, ahead.piece if ahead else None)
        self._batch = frozenset()
        if verdict == 0:
            reading = any(chunk.count > 1 for chunk in chunks)
            if reading:
                self._pace.learn(count, time.perf_counter() - begun)
            return True
        if verdict == ABORTED:
            for chunk in chunks:
                self._memory.cut(chunk.line, chunk.line.read)
        elif verdict == NO_SLOT:
            self._memory.make_room()
        else:
            raise DecodeFailed(f"llama_decode answered {verdict}")
        return False

    def _guess(self, line: Line, most: int) -> list[int]:
        """What a line that decodes may be tried with, beside its own token."""
        (choice, *others) = self._choices[line.id]
        room = self._context_tokens - len(line.tokens) - 1
        if others or not self._context.is_rewindable:
            return []
        if limit := choice.request.start.max_tokens:
            room = min(room, limit - choice.writer.tokens - 1)
        return choice.guess(min(most, room)) if room > 0 else []

    def _advance(self, chunks: list[Chunk]) -> None:
        """Note what was read, and draw the next tokens of every line that is read to its end."""
        at = 0
        for chunk in chunks:
            was_last, row = chunk.is_last, at + chunk.count - 1
            at += chunk.rows
            chunk.line.read += chunk.count
            self._read += chunk.rows
            # One that has failed takes the others of its request along, whether they are in this batch or not.
            if was_last and self._memory.lines.live.get(chunk.line.id) is chunk.line:
                for choice in self._fan_out(chunk.line):
                    if choice in choice.request.choices:
                        self._say(choice, row, chunk.draft)

    def _say(self, choice: Choice, row: int, draft: Sequence[int]) -> None:
        """Draw a token, and further ones for as long as they are those that were guessed."""
        line, confirmed = choice.line, 0
        goes_on = self._draw(choice, self._context.logits(row), draft)
        while goes_on and confirmed < len(draft) and line.tokens[-1] == draft[confirmed]:
            confirmed += 1
            line.read += 1
            goes_on = self._draw(choice, self._context.logits(row + confirmed), draft[confirmed:])
        if draft and goes_on:
            self._memory.settle(line)
            choice.learn(len(draft), confirmed)

    def _fan_out(self, line: Line) -> list[Choice]:
        """Give the choices a line feeds; where it feeds several, all but the first get lines that share its tokens."""
        first, *others = self._choices[line.id]
        self._choices[line.id] = [first]
        for choice in others:
            choice.line = self._memory.branch(line)
            self._choices[choice.line.id] = [choice]
        return [first, *others]

    def _draw(self, choice: Choice, logits: Floats, draft: Sequence[int]) -> bool:
        """Draw the next token, and tell what it completes; False when it was the choice's last.

        Args:
            choice: the one it is for.
            logits: shape (vocabulary,), float32.
            draft: what was guessed from here on; the first is the guess at this very token.
        """
        try:
            token, scored = choice.draw(logits)
        except NothingFits:
            self._fail(choice.request, "The grammar became too complex.")
            return False
        self._generated += 1
        choice.line.tokens.append(token)
        reason = self._take(choice, token, scored)
        choice.count(token, draft, ends=reason is not None)
        if reason is not None:
            self._finish(choice, reason)
        return reason is None

    def _take(self, choice: Choice, token: int, scored: Scored | None) -> str | None:
        """Add a token to its choice's text; give why the choice ends with it, if it does."""
        if token in self._vocabulary.ends:
            choice.writer.count()
            return "stop"
        piece = choice.mark(token) or self._vocabulary.pieces[token]
        is_thinking = choice.thinking is not None and choice.thinking.is_open
        delta, stopped = choice.writer.add(piece, self._entry(scored) if scored else None, is_thinking=is_thinking)
        self._write(choice, delta)
        if stopped or choice.follow(token, piece):
            return "stop"
        is_full = len(choice.line.tokens) >= self._context_tokens
        return "length" if is_full or choice.writer.tokens == choice.request.start.max_tokens else None

    def _finish(self, choice: Choice, reason: str) -> None:
        request = choice.request
        self._write(choice, choice.writer.finish())
        drafts = (choice.accepted, choice.rejected)
        ended = ChoiceEnded(request.start.id, choice.writer.choice, reason, choice.writer.tokens, *drafts)
        self._tell(request.connection, ended)
        self._close(choice)
        request.choices.remove(choice)
        if not request.choices:
            self._end(request)

    def _close(self, choice: Choice) -> None:
        """End a choice's line, once: before they fan out, all of a request's choices have the same one."""
        if self._choices.pop(choice.line.id, None) is not None:
            # Several choices share their prompt, and a conversation goes on with one: the first is kept.
            self._memory.close(choice.line, is_kept=choice.writer.choice == 0)

    def _fail(self, request: Request, message: str) -> None:
        for choice in request.choices:
            self._close(choice)
        request.choices.clear()
        self._end(request, "failed", message)

    def _end(self, request: Request, error: str | None = None, message: str = "") -> None:
        del self._requests[request.start.id]
        self._tell(request.connection, Ended(request.start.id, error, message))

    def _write(self, choice: Choice, delta: TextDelta | None) -> None:
        if delta is not None:
            entries = tuple(_told(entry) for entry in delta.logprobs)
            text = Text(choice.request.start.id, delta.choice, delta.text, delta.tokens, entries, *choice.news())
            self._tell(choice.request.connection, text)

    def _entry(self, scored: Scored) -> TokenLogprob:
        top = tuple(self._scored(token, logprob) for token, logprob in scored.top)
        return self._scored(scored.token, scored.logprob, top)

    def _scored(self, token: int, logprob: float, top: tuple[TokenLogprob, ...] = ()) -> TokenLogprob:
        piece = self._vocabulary.pieces[token]
        return TokenLogprob(piece.decode("utf-8", "replace"), piece, logprob, top)


def _told(entry: TokenLogprob) -> Logprob:
    return Logprob(entry.bytes, entry.logprob, tuple(map(_told, entry.top)))
