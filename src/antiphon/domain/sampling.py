"""How the next token is chosen: one line a parameter, with the meaning OpenAI's API reference gives it."""

from collections.abc import Mapping
from dataclasses import field
from types import MappingProxyType

from antiphon.domain.values import value

NO_BIAS: Mapping[int, float] = MappingProxyType({})


@value
class Sampling:
    """The sampling parameters of one request, each at its neutral value unless asked for."""

    temperature: float = 1.0
    """0..2; 0 takes the likeliest token."""
    top_p: float = 1.0
    """0..1; the smallest set of tokens whose probability, after temperature, reaches it."""
    frequency_penalty: float = 0.0
    """-2..2; subtracted from a token's logit once for each time it stands in the completion so far."""
    presence_penalty: float = 0.0
    """-2..2; subtracted once from the logit of each token that stands in the completion so far."""
    logit_bias: Mapping[int, float] = field(default_factory=lambda: NO_BIAS)
    """Token id to -100..100, added to the logit."""
    seed: int | None = None
    """Any 64-bit integer. Each choice draws from its own generator, derived from the seed and its index."""
    max_tokens: int | None = None
    """The most completion tokens a choice may have; None means until the context is full."""
    stop: tuple[str, ...] = ()
    """Up to 4 strings that end a choice and are not part of it."""
    n: int = 1
    """How many choices; they share one reading of the prompt."""
    logprobs: bool = False
    """Whether each token comes with its log-probability, in nats, under the model's own distribution."""
    top_logprobs: int = 0
    """0..20; how many of the likeliest tokens come with each token."""
