"""A grammar that becomes too complex while an answer is written, on a loop whose model is none."""

import json

import numpy as np
import pytest

from antiphon.engines.llamacpp.constrain import Grammars
from antiphon.engines.llamacpp.loop import Loop, Room
from antiphon.engines.llamacpp.model import Context, Sizes
from antiphon.engines.llamacpp.protocol import Ended, Grammar, Start, Text
from antiphon.engines.llamacpp.request import Request

RULES = "\n".join(f'r{n}: "a" r{n} | "a" r{(7 * n + 1) % 300} "b" | "a"' for n in range(300))
TOO_COMPLEX = f"start: {' | '.join(f'r{n}' for n in range(300))}\n{RULES}\n"
"""After its first letter there are more ways to go on than the library follows."""
END = 256


class Bytes:
    """A vocabulary of single bytes."""

    size, ends, bos = 257, frozenset({END}), None
    pieces = (*(bytes([byte]) for byte in range(256)), b"")
    control = {"<end>": END}  # noqa: RUF012 - nobody changes it

    def tokenize(self, text, *, control):
        return list(text.encode())

    def text(self, token):
        return "<end>"


class Parrot(Context):
    """A context that would say "a" for ever."""

    is_rewindable = True

    def __init__(self):
        self.sizes = Sizes(4096, 64, 4, 8, 1, 1)
        self.tokens, self.positions, self.sequences, self.outputs = (np.zeros(64, np.int32) for _ in range(4))

    def decode(self, count, piece=None):
        return 0

    def logits(self, row):
        return np.eye(1, Bytes.size, ord("a"), dtype=np.float32)[0]

    def forget(self, sequence, start=0):
        return True

    def save(self, sequence):
        return None

    def share(self, source, target, end):
        pass

    def clear(self):
        pass


def start(name, n):
    numbers = {"temperature": 0.0, "top_p": 1, "frequency_penalty": 0, "presence_penalty": 0, "logprobs": -1}
    return Start(name, "a", (), n, 5, (), logit_bias={}, seed=None, **numbers)


@pytest.fixture
def grammars():
    grammars = Grammars(Bytes())
    yield grammars
    grammars._trial.close()


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_grammar_that_becomes_too_complex_fails_its_request_once_and_nobody_else(grammars, n):
    told = []
    loop = Loop(Parrot(), Bytes(), Room(4, 100, 100, 64), lambda _, message: told.append(message))
    text = json.dumps({"grammars": [{"lark_grammar": TOO_COMPLEX}]})
    loop.add(Request(None, start(b"bad", n), [1, 2, 3], grammars.compile(Grammar(text, (("tools[0]", text),)))))
    loop.add(Request(None, start(b"good", 1), [1, 2, 3]))
    while loop.step():
        pass
    ended = {message.id: message.error for message in told if isinstance(message, Ended)}
    assert ended == {b"bad": "failed", b"good": None}
    assert len([message for message in told if isinstance(message, Ended)]) == 2
    assert "".join(message.text for message in told if isinstance(message, Text) and message.id == b"good") == "aaaaa"
    assert loop.state.requests == 0
