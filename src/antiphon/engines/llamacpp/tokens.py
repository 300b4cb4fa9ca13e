"""Messages to token ids: the template's text, with nothing a client wrote read as a control token."""

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from antiphon.engines.llamacpp.model import Vocabulary
from antiphon.engines.llamacpp.protocol import Turn
from antiphon.engines.llamacpp.template import ChatTemplate, Guard

NO_KNOBS: Mapping[str, str | bool] = MappingProxyType({})


class PromptTooLong(Exception):
    """The prompt cannot fit, whatever its tokens are."""


class Prompter:
    """Makes prompts for one model. Safe to use from several threads."""

    def __init__(self, vocabulary: Vocabulary, template: ChatTemplate, context_tokens: int) -> None:
        self._vocabulary, self._template = vocabulary, template
        # No token is longer than the longest piece, so this many bytes are too many without counting tokens.
        self._bytes = context_tokens * vocabulary.longest_piece

    def prompt(
        self,
        turns: Sequence[Turn],
        tools: str = "",
        knobs: Mapping[str, str | bool] = NO_KNOBS,
        media: Sequence[Sequence[list[int]]] = (),
    ) -> list[int]:
        """Give the prompt's tokens.

        Args:
            turns: the conversation.
            tools: the functions the template describes, as JSON; empty for none.
            knobs: further variables of the template.
            media: the tokens of each turn's pictures and sounds, where there are any.

        Raises:
            PromptTooLong: the text is hopelessly long; a prompt of any length that comes back must still be counted.
            TemplateRefused: the model's template refuses these messages.
        """
        calls = (text for turn in turns for _, *texts in turn.calls for text in texts)
        if sum(len(text.encode()) for text in (tools, *calls, *(turn.text for turn in turns))) > self._bytes:
            raise PromptTooLong
        guard = Guard(self._vocabulary.control)
        variables: dict[str, object] = {**knobs}
        if tools:
            variables["tools"] = _hidden(guard, json.loads(tools))
        taken = media or [()] * len(turns)
        messages = [self._message(turn, guard, shown) for turn, shown in zip(turns, taken, strict=True)]
        rendered = self._template.render(messages, **variables)
        tokens: list[int] = []
        for text, control in guard.pieces(rendered):
            if isinstance(text, list):
                tokens += text
            elif text:
                tokens += self._vocabulary.tokenize(text, control=control)
        bos = self._vocabulary.bos
        if self._vocabulary.adds_bos and bos is not None and tokens[:1] != [bos]:
            tokens.insert(0, bos)
        return tokens

    def _message(self, turn: Turn, guard: Guard, media: Sequence[list[int]]) -> dict[str, Any]:
        """Give a turn as templates know them; what this template never mentions is written into the text instead."""
        content = _illustrated(turn, guard, media)
        message: dict[str, Any] = {"role": self._role(turn.role)}
        if turn.name and turn.role != "function" and not self._template.mentions(".name"):
            content = f"{turn.name}: {content}"
        elif turn.name:
            message["name"] = turn.name
        if turn.calls:
            calls = [_call(guard, *call) for call in turn.calls]
            if self._template.mentions("tool_calls"):
                message["tool_calls"] = calls
            else:
                content = "\n".join(filter(None, [content, *map(_written, calls)]))
        if turn.call_id:
            message["tool_call_id"] = guard.hide(turn.call_id)
        return message | {"content": self._template.content(content)}

    def _role(self, role: str) -> str:
        if role == "developer" and not self._template.mentions("developer"):
            return "system"
        return "tool" if role == "function" else role


def _illustrated(turn: Turn, guard: Guard, media: Sequence[list[int]]) -> str:
    """A turn's text with the tokens of its pictures and sounds put in their places."""
    content, at = "", 0
    for medium, tokens in zip(turn.media, media, strict=True):
        content += guard.hide(turn.text[at : medium.at]) + guard.put(tokens)
        at = medium.at
    return content + guard.hide(turn.text[at:])


def _call(guard: Guard, call_id: str | None, name: str, arguments: str) -> dict[str, Any]:
    """A tool call as templates know it: arguments as an object if they are one, since most write them with tojson."""
    try:
        # Read first, then hidden: an escape in the JSON may stand for any part of a control token's name.
        parsed = _hidden(guard, json.loads(arguments))
        json.dumps(parsed, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        parsed = None
    function = {"name": guard.hide(name), "arguments": parsed if isinstance(parsed, dict) else guard.hide(arguments)}
    return {"id": guard.hide(call_id or ""), "type": "function", "function": function}


def _hidden(guard: Guard, value: Any) -> Any:
    """Hide the names of control tokens in every text of a JSON value."""
    match value:
        case str():
            return guard.hide(value)
        case dict():
            return {guard.hide(key): _hidden(guard, inner) for key, inner in value.items()}
        case list():
            return [_hidden(guard, inner) for inner in value]
        case _:
            return value


def _written(call: dict[str, Any]) -> str:
    return f"<tool_call>\n{json.dumps(call['function'], ensure_ascii=False)}\n</tool_call>"
