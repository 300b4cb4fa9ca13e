"""The chat template that came with the weights: a program by a stranger, so it runs in a sandbox and under limits."""

import ctypes
import json
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NoReturn

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from antiphon.domain.tools import CALL_FORMATS, CHANNEL_MARKS, THINK_CLOSER, THINK_OPENER

RENDER_S = 2.0
"""How long one rendering may take."""
PROBE_S = 0.5
"""How long one may take that only finds out how the template reads messages."""
RENDER_CHARACTERS = 16 * 1024 * 1024
"""How long its text may be."""
_OPERAND_CHARACTERS = 1024 * 1024

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""For weights that bring no template, as llama.cpp does."""


_PROBE = "what a user says"
"""A message's text by which a template is judged when it is loaded."""
_MARKS = {"channels": CHANNEL_MARKS, "think": (THINK_OPENER, THINK_CLOSER)}


class TemplateRefused(Exception):
    """The template will not render these messages; its words, cleaned, are for the client."""


class _TooLong(Exception):
    """Raised inside the rendering thread when its time is up."""


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's own sandbox bounds where a template may reach; this one bounds how much it may build as well."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def call_binop(self, context: jinja2.runtime.Context, operator: str, left: Any, right: Any) -> Any:
        """Compute one of the operators by which a few characters of template make gigabytes."""
        for value, other in ((left, right), (right, left)):
            if isinstance(value, str | list | tuple) and isinstance(other, int) and operator == "*":
                _bound(len(value) * other)
        if operator == "**":
            _bound(abs(right) if isinstance(right, int) else 0, 64)
        if operator == "%" and isinstance(left, str):
            raise TemplateRefused("the model's template uses a string operation that is not allowed")
        return super().call_binop(context, operator, left, right)


def _bound(size: int, most: int = _OPERAND_CHARACTERS) -> None:
    if size > most:
        raise TemplateRefused("the model's template builds a text that is too large")


def _refuse(message: object) -> NoReturn:
    raise TemplateRefused(str(message))


class ChatTemplate:
    """Turns messages into the text a model was trained on. Safe to use from several threads."""

    def __init__(self, source: str | None, *, bos: str, eos: str) -> None:
        """Compile.

        Raises:
            TemplateRefused: the source is not a Jinja template.
        """
        environment = _Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
        environment.filters["tojson"] = _to_json
        for wide in ("center", "indent", "format", "wordwrap", "xmlattr"):
            environment.filters.pop(wide, None)
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = lambda form: datetime.now(UTC).strftime(form)
        environment.globals |= {"bos_token": bos, "eos_token": eos}
        self._source = source or CHATML
        try:
            self._template = environment.from_string(self._source)
        except jinja2.TemplateError as error:
            raise TemplateRefused(f"the model's template is not valid: {error}") from error
        self._reads_parts = not self._shows(_PROBE) and self._shows(_parts(_PROBE))

    def content(self, text: str) -> str | list[dict[str, str]]:
        """Give a message's text as this template reads it: as it is, or as the one part of a list.

        Templates of models that see go through a message's parts, and many of them leave out what is none. What stands
        for a picture is in the text: for parts of other kinds they write marks of their own, which are not those that
        llama.cpp puts around a picture.
        """
        return _parts(text) if self._reads_parts else text

    def _shows(self, content: str | list[dict[str, str]]) -> bool:
        try:
            return _PROBE in self._render(PROBE_S, [{"role": "user", "content": content}], {})
        except TemplateRefused:
            return False

    @property
    def calls(self) -> str:
        """The format in which it writes tool calls; empty when it knows none, or none that we know."""
        if not self.mentions("tools"):
            return ""
        marks = (
            ("<|channel|>", "harmony"),
            ("<tool_call>", "hermes"),
            ("[TOOL_CALLS]", "mistral"),
            ('"parameters": ', "llama3"),
        )
        return next((name for mark, name in marks if self.mentions(mark)), "")

    @property
    def thinking(self) -> str:
        """How its model thinks: in channels, between tags, or not at all."""
        if self.mentions("<|channel|>"):
            return "channels"
        return "think" if self.mentions("</think>") or self.mentions("enable_thinking") else ""

    def marks(self, *, with_calls: bool) -> frozenset[str]:
        """Give the control tokens that tell the parts of its model's answers apart; `with_calls`, its calls too."""
        form = CALL_FORMATS.get(self.calls if with_calls else "")
        return frozenset((*_MARKS.get(self.thinking, ()), *((form.opener, form.closer) if form else ())))

    def mentions(self, word: str) -> bool:
        """Whether the source names something, a message's `tool_calls` say: what it does not name it leaves out."""
        return word in self._source

    def render(self, messages: Sequence[Mapping[str, Any]], **variables: object) -> str:
        """Give the prompt text for a conversation, ready for the assistant's turn.

        Raises:
            TemplateRefused: the template raised, took longer than RENDER_S or wrote more than RENDER_CHARACTERS.
        """
        return self._render(RENDER_S, messages, variables)

    def _render(self, seconds: float, messages: Sequence[Mapping[str, Any]], variables: Mapping[str, object]) -> str:
        parts, size = [], 0
        try:
            with _alarm(seconds):
                for part in self._template.generate(messages=messages, add_generation_prompt=True, **variables):
                    size += len(part)
                    _bound(size, RENDER_CHARACTERS)
                    parts.append(part)
        except _TooLong:
            raise TemplateRefused("the model's template took too long") from None
        except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError, MemoryError) as error:
            raise TemplateRefused("the model's template cannot render these messages") from error
        return "".join(parts)


def _parts(text: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text}]


def _to_json(value: object, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raise _TooLong in this thread when the body takes longer: a loop in a template never yields to be asked."""
    raise_in: Callable[[int, object], int] = _async_exception
    thread, lock, over = threading.get_ident(), threading.Lock(), False

    def ring() -> None:
        with lock:
            if not over:
                raise_in(thread, _TooLong)

    timer = threading.Timer(seconds, ring)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        with lock:
            over = True
        timer.cancel()


def _async_exception(thread: int, kind: object) -> int:
    threads: int = ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(kind))
    return threads


class Guard:
    """Keeps text that looks like a control token from becoming one.

    Such text inside a message is swapped for a nonce before rendering, so the template (which may trim or cut) sees
    plain characters, and swapped back after the rendered text has been cut at the nonces.
    """

    def __init__(self, control: Mapping[str, int]) -> None:
        self._control = [text for text in control if text]
        self._nonce = secrets.token_hex(8)
        self._hidden: list[str | list[int]] = []

    def hide(self, text: str) -> str:
        """Give the text with each control token's name swapped for a nonce."""
        for name in self._control:
            if name in text:
                text = text.replace(name, f"\ue000{self._nonce}{len(self._hidden)}\ue001")
                self._hidden.append(name)
        return text

    def put(self, tokens: list[int]) -> str:
        """Give what stands for tokens that are no text until the rendered text is cut."""
        self._hidden.append(tokens)
        return f"\ue000{self._nonce}{len(self._hidden) - 1}\ue001"

    def pieces(self, rendered: str) -> Iterator[tuple[str | list[int], bool]]:
        """Cut rendered text; give each piece, or the tokens put there, and whether control tokens may be read in it."""
        head, *rest = rendered.split(f"\ue000{self._nonce}")
        yield head, True
        for part in rest:
            index, _, text = part.partition("\ue001")
            yield self._hidden[int(index)], False
            yield text, True
