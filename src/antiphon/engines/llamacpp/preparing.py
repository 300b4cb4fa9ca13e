"""A request as it arrives to one that the loop can run: its prompt, its grammar, its prediction in tokens."""

from collections.abc import Hashable, Sequence

from antiphon.engines.llamacpp.constrain import Grammars, GrammarUnfit
from antiphon.engines.llamacpp.drafts import Predicted
from antiphon.engines.llamacpp.layout import Layout
from antiphon.engines.llamacpp.model import Vocabulary
from antiphon.engines.llamacpp.protocol import Ended, Start
from antiphon.engines.llamacpp.request import Request
from antiphon.engines.llamacpp.senses import Taken
from antiphon.engines.llamacpp.template import ChatTemplate, TemplateRefused
from antiphon.engines.llamacpp.thinking import Thinking
from antiphon.engines.llamacpp.tokens import Prompter, PromptTooLong

_CHARACTERS = 8
"""Of a prediction that are read for each token that fits the context: twice what a token of English stands for."""
_TAIL = 8
"""Tokens at a prompt's end in which its template may have opened the model's thinking."""


class Preparer:
    """Prepares requests for one model. For one thread."""

    def __init__(self, vocabulary: Vocabulary, template: ChatTemplate, context_tokens: int) -> None:
        self._vocabulary, self._template, self._context_tokens = vocabulary, template, context_tokens
        self._prompter = Prompter(vocabulary, template, context_tokens)
        self._grammars = Grammars(vocabulary)
        self._marks, self._call_marks = (
            {vocabulary.control[mark]: mark.encode() for mark in marks if mark in vocabulary.control}
            for marks in (template.marks(with_calls=False), template.marks(with_calls=True))
        )
        self._close_thinking = vocabulary.tokenize("\n</think>\n\n", control=True)

    def prepare(self, connection: Hashable, start: Start, taken: Sequence[Sequence[Taken]] = ()) -> Request | Ended:
        """Give the request, or why it cannot run.

        Args:
            connection: where it came by.
            start: what is asked.
            taken: the pictures and sounds of each of its messages; empty when it has none at all.
        """
        try:
            tokens = [[medium.tokens for medium in turn] for turn in taken]
            prompt = self._prompter.prompt(start.turns, start.tools, start.knobs, tokens)
            if prompt and prompt[-1] < 0:
                prompt += self._vocabulary.tokenize("\n", control=False)  # the last one's logits are wanted
            if len(prompt) >= self._context_tokens:
                return self._too_long(start, len(prompt))
            matcher = self._grammars.compile(start.grammar) if start.grammar else None
        except (PromptTooLong, TemplateRefused, GrammarUnfit) as refused:
            return self._refusal(start, refused)
        if any(not 0 <= token < self._vocabulary.size for token in start.logit_bias):
            return Ended(start.id, "bias", f"Token ids of this model are 0 to {self._vocabulary.size - 1}.")
        marks = self._call_marks if start.tools else self._marks
        thinking = self._thinking(start, prompt)
        layout = Layout(
            prompt, {number: piece for turn in taken for one in turn for number, piece in one.pieces.items()}
        )
        return Request(connection, start, prompt, matcher, self._predicted(start), thinking, marks, layout)

    def _refusal(self, start: Start, refused: Exception) -> Ended:
        match refused:
            case TemplateRefused():
                return Ended(start.id, "template", str(refused)[:300])
            case GrammarUnfit():
                return Ended(start.id, "grammar", str(refused), refused.param)
            case _:
                return self._too_long(start, None)

    def _predicted(self, start: Start) -> Predicted | None:
        """A request's prediction, as far as an answer can go: megabytes would take the time of everyone behind it."""
        if not start.prediction:
            return None
        text = start.prediction[: _CHARACTERS * self._context_tokens]
        return Predicted(self._vocabulary.tokenize(text, control=False)[: self._context_tokens])

    def _thinking(self, start: Start, prompt: list[int]) -> Thinking | None:
        """How a request's thinking is followed; None when its model does none between tags."""
        if self._template.thinking != "think":
            return None
        tail = "".join(self._vocabulary.text(token) for token in prompt[-_TAIL:] if token >= 0)
        return Thinking(self._close_thinking, start.thinking_tokens, is_open=tail.rstrip().endswith("<think>"))

    def _too_long(self, start: Start, tokens: int | None) -> Ended:
        most = f"This model's maximum context length is {self._context_tokens} tokens"
        asked = f"your messages have {tokens}" if tokens else "your messages have many more"
        return Ended(start.id, "context", f"{most}; {asked}. Please shorten them.")
