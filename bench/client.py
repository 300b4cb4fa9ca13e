"""One streaming client for every server that speaks OpenAI's API."""

import itertools
import json
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import httpx


@dataclass
class Target:
    """A server to be measured."""

    name: str
    base_url: str
    model: str
    key: str = "none"


@dataclass
class Stream:
    """What one stream was like; times are seconds from its sending."""

    arrivals: list[float] = field(default_factory=list)
    """When each piece of text came."""
    tokens: int = 0

    @property
    def first_s(self) -> float:
        return self.arrivals[0]

    def gaps(self, begin: float = 0.0) -> list[float]:
        """The waits between pieces, from the time `begin` on."""
        times = [at for at in self.arrivals if at >= begin]
        return [later - sooner for sooner, later in itertools.pairwise(times)]


def stream(target: Target, text: str, tokens: int, stop: threading.Event | None = None) -> Stream:
    """Ask for `tokens` tokens and read them as they come."""
    body = {
        "model": target.model,
        "messages": [{"role": "user", "content": text}],
        "max_tokens": tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
        # The tokens that end a turn, so that every answer has the same length.
        "logit_bias": {"0": -100, "2": -100},
    }
    seen, begun = Stream(), time.perf_counter()
    headers = {"authorization": f"Bearer {target.key}"}
    with httpx.stream("POST", f"{target.base_url}/chat/completions", json=body, headers=headers, timeout=600) as answer:
        answer.raise_for_status()
        for line in answer.iter_lines():
            if stop is not None and stop.is_set():
                break
            if not line.startswith("data: {"):
                continue
            chunk = json.loads(line[6:])
            if chunk.get("usage"):
                seen.tokens = chunk["usage"]["completion_tokens"]
            if chunk["choices"] and chunk["choices"][0]["delta"].get("content"):
                seen.arrivals.append(time.perf_counter() - begun)
    return seen


def together(target: Target, texts: list[str], tokens: int) -> tuple[float, list[Stream]]:
    """Run a stream for each text at once; give tokens/s over all, and the streams."""
    begun = time.perf_counter()
    with ThreadPoolExecutor(len(texts)) as pool:
        streams = list(pool.map(lambda text: stream(target, text, tokens), texts))
    return sum(seen.tokens for seen in streams) / (time.perf_counter() - begun), streams


def quantile(values: list[float], share: float) -> float:
    """Give a quantile by its nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def median(values: list[float]) -> float:
    """Give the middle value."""
    return statistics.median(values)
