"""What the contract costs and saves: predictions and schemas, against the same answer without them."""

import json
import time
from dataclasses import dataclass

import httpx

from bench.client import Target, median
from bench.servers import Threads, antiphon

TOKENS = 300
STATISTICS = """\
def add(numbers):
    total = 0
    for number in numbers:
        total = total + number
    return total


def mean(numbers):
    if not numbers:
        raise ValueError("no numbers")
    return add(numbers) / len(numbers)
"""
LIGHTHOUSE = """\
class Lighthouse:
    def __init__(self, name, height):
        self.name = name
        self.height = height
        self.lit = False

    def light(self):
        self.lit = True

    def douse(self):
        self.lit = False
"""
DUTIES = """\
<ul>
  <li>Keep the lamp clean.</li>
  <li>Wind the clock every evening.</li>
  <li>Write the weather down.</li>
  <li>Count the ships that pass.</li>
</ul>
"""
SCHEMA = {
    "type": "object",
    "properties": {
        "ships": {
            "type": "array",
            "minItems": 12,
            "items": {
                "type": "object",
                "properties": {"name": {"type": "string"}, "masts": {"type": "integer", "minimum": 1, "maximum": 5}},
                "required": ["name", "masts"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["ships"],
    "additionalProperties": False,
}


@dataclass
class Answer:
    """One answer and how long it took."""

    text: str
    tokens: int
    seconds: float
    first_s: float

    @property
    def speed(self) -> float:
        """Tokens per second behind the first piece."""
        return self.tokens / (self.seconds - self.first_s)


def ask(target: Target, text: str, **fields: object) -> Answer:
    body = {
        "model": target.model,
        "messages": [{"role": "user", "content": text}],
        "temperature": 0,
        "max_tokens": TOKENS,
        "stream": True,
        "stream_options": {"include_usage": True},
        **fields,
    }
    begun, pieces, first_s, usage = time.perf_counter(), [], 0.0, {}
    headers = {"authorization": f"Bearer {target.key}"}
    with httpx.stream("POST", f"{target.base_url}/chat/completions", json=body, headers=headers, timeout=300) as answer:
        answer.raise_for_status()
        for line in answer.iter_lines():
            if not line.startswith("data: {"):
                continue
            chunk = json.loads(line[6:])
            usage = chunk.get("usage") or usage
            if chunk["choices"] and (piece := chunk["choices"][0]["delta"].get("content")):
                first_s = first_s or time.perf_counter() - begun
                pieces.append(piece)
    return Answer("".join(pieces), usage["completion_tokens"], time.perf_counter() - begun, first_s)


def predictions(target: Target, rounds: int) -> list[tuple[str, str]]:
    """Time with a prediction against without; each task's own greedy answer is what is predicted."""
    exact, renamed, useless = [], [], []
    for file in (STATISTICS, LIGHTHOUSE, DUTIES):
        text = f"Repeat this file three times, with `number` renamed to `value`:\n\n{file}"
        for _ in range(rounds):
            plain = ask(target, text)
            words = plain.text.split(" ")
            words[len(words) // 2] += "Renamed"
            for ratios, predicted in (
                (exact, plain.text),
                (renamed, " ".join(words)),
                (useless, "Nothing of this will be said at all, not even once. " * 20),
            ):
                guessed = ask(target, text, prediction={"type": "content", "content": predicted})
                if guessed.text != plain.text:
                    raise AssertionError("a prediction changed the text")
                ratios.append(guessed.seconds / plain.seconds)
    what = "time with a prediction against without, prompt included"
    return [
        (f"{what}: exact", f"{median(exact):.2f} ×"),
        (f"{what}: one word differs in the middle", f"{median(renamed):.2f} ×"),
        (f"{what}: useless", f"{median(useless):.2f} ×"),
    ]


def schemas(target: Target, rounds: int) -> tuple[str, str]:
    """Tokens per second under a schema against free text."""
    form = {"type": "json_schema", "json_schema": {"name": "ships", "schema": SCHEMA, "strict": True}}
    free = median([ask(target, "Name many ships.", logit_bias={"0": -100, "2": -100}).speed for _ in range(rounds)])
    kept = median([ask(target, "Name many ships.", response_format=form).speed for _ in range(rounds)])
    return "tokens/s under a JSON schema against free", f"{kept / free:.2f} × ({kept:.0f} against {free:.0f})"


def measure(threads: Threads, rounds: int) -> list[tuple[str, str]]:
    # Nothing is remembered, so that each of the compared answers reads its whole prompt.
    with antiphon(threads, prefix_tokens="0") as (target, _):
        ask(target, "Warm up.", max_tokens=8)
        return [*predictions(target, rounds), schemas(target, rounds)]
