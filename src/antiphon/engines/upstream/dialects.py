"""What each kind of server can do: which features of a request it honours, and by what name.

Sources: the servers' request schemas of August 2026 (vLLM 0.33, SGLang 0.5.23, llama.cpp, Ollama); OpenAI's API
reference. A feature that is not in a table is supplied by the contract, or refused by name.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from antiphon.domain.media import AS_FILE
from antiphon.domain.tools import CALLS

_BASE = {
    name: name
    for name in ("frequency_penalty", "presence_penalty", "response_format", "seed", "stop", "temperature", "top_p")
} | {"max_completion_tokens": "max_tokens", "tools": CALLS, "functions": "tools"}
"""What every server does that calls itself compatible."""
_CHOICES = {name: name for name in ("logit_bias", "logprobs", "n", "top_logprobs")}
_CALLING = {"function_call": "tool_choice", "parallel_tool_calls": "parallel_tool_calls", "tool_choice": "tool_choice"}
_MODERN = _BASE | _CHOICES | _CALLING | {"max_completion_tokens": "max_completion_tokens"}
_ALL = _MODERN | {name: name for name in ("prediction", "reasoning_effort", "verbosity")}

_SCORING = _BASE | {name: name for name in ("logit_bias", "logprobs", "parallel_tool_calls", "top_logprobs")}
_LLAMA_SERVER = _SCORING
"""It takes `tool_choice`, and may give no call where one is forced; of several choices it counts the tokens of one."""
_VLLM = _SCORING | {"max_completion_tokens": "max_completion_tokens"}
"""It takes `tool_choice` where it was started with a parser of calls, and forced calls do not keep to their schemas; it
refuses several choices at temperature 0. Asked for by itself, each choice reads the prompt from its cache."""

DIALECTS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "openai": MappingProxyType(_ALL | {"image_url": AS_FILE}),
        "antiphon": MappingProxyType(_ALL),
        "vllm": MappingProxyType(_VLLM),
        "sglang": MappingProxyType(_MODERN),
        "llama-server": MappingProxyType(_LLAMA_SERVER),
        "ollama": MappingProxyType(_BASE),
        "other": MappingProxyType(_BASE),
    }
)
"""The kinds of server, to what they honour. What a model sees, hears or thinks is a matter of the model: `has`."""

KNOWN: Mapping[str, str] = MappingProxyType(_ALL | {"image_url": AS_FILE, "input_audio": AS_FILE})
"""Every feature that can be declared, to its name there."""

OWNERS: Mapping[str, str] = MappingProxyType(
    {"vllm": "vllm", "sglang": "sglang", "llamacpp": "llama-server", "library": "ollama", "openai": "openai"}
)
"""Whom a server's list of models names as their owner, to its kind."""


def features_of(kind: str, has: Iterable[str], lacks: Iterable[str], thinking: str | None) -> Mapping[str, str]:
    """Give the table of a version.

    Args:
        kind: a name in DIALECTS.
        has: features it has beside those.
        lacks: features it has not.
        thinking: how thinking stands in its text ("think", "channels"); None where it comes apart, or there is none.
    """
    table = dict(DIALECTS[kind]) | {name: KNOWN[name] for name in has}
    if thinking:
        table["reasoning_effort"] = thinking
    return MappingProxyType({name: there for name, there in table.items() if name not in set(lacks)})
