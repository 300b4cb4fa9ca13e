"""The engine's own parts, run in this process, and libmtmd's helper to compare them with.

The helper (`mtmd_helper_eval_chunks` of `tools/mtmd/mtmd-helper.h`) is how llama.cpp's own programs read a prompt with
pictures and sounds: what the model says after it is right by definition.
"""

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, c_bool, c_char_p, c_int32, c_size_t, c_void_p
from pathlib import Path

import numpy as np

from antiphon.engines.llamacpp.binding import library_path, load
from antiphon.engines.llamacpp.drafts import MOST
from antiphon.engines.llamacpp.loop import Loop, Room
from antiphon.engines.llamacpp.model import Context, Sizes, Weights
from antiphon.engines.llamacpp.mtmd import Projector
from antiphon.engines.llamacpp.preparing import Preparer
from antiphon.engines.llamacpp.protocol import Accepted, Ended, Picture, Sound, Start, Text, Turn
from antiphon.engines.llamacpp.request import Request
from antiphon.engines.llamacpp.senses import Senses
from antiphon.engines.llamacpp.template import ChatTemplate

PLAIN = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
CELLS = 4096


def quiet(level, line):
    pass


class Recorded(Context):
    """A context that keeps all logits that were asked for."""

    asked = ()

    def logits(self, row):
        found = super().logits(row)
        self.asked += (found.copy(),)
        return found


class Engine:
    """A loop with its context, its senses and its prompts; every part is the real one."""

    def __init__(self, weights: Path, mmproj: Path, *, batch: int = 16, slots: int = 4, cells: int = CELLS) -> None:
        self.library = load(library_path(), quiet)
        self.weights = Weights(self.library, weights)
        self.projector = Projector(self.library, self.weights.handle, mmproj, 1, quiet)
        self.senses = Senses(self.projector)
        self.sizes = Sizes(
            cells, max(batch, self.senses.most_at_once), slots, max(slots, min(batch, slots + MOST)), 1, 1
        )
        self.context = self.weights.context(self.sizes)
        self.context.__class__ = Recorded
        self.preparer = Preparer(self.weights.vocabulary, ChatTemplate(PLAIN, bos="", eos=""), cells)
        self.told = []
        room = Room(slots, cells, cells, batch)
        self.loop = Loop(self.context, self.weights.vocabulary, room, lambda _, message: self.told.append(message))
        self._names = iter(range(1000))

    def add(self, *parts, account="a", seed=None, **fields) -> bytes:
        """Begin a request whose one message has these parts: texts, pictures and sounds."""
        turn = turned(parts)
        start = self._start(turn, account, seed, fields)
        request = self.preparer.prepare(None, start, [[self.senses.take(medium) for medium in turn.media]])
        assert not isinstance(request, Ended), request
        self.loop.add(request)
        return start.id

    def read_anew(self, line) -> np.ndarray:
        """What the model would say after all that a line had read, of which nothing is remembered."""
        prompt = line.tokens[: line.read]
        self.loop.add(Request(None, self._start(turned(()), "nobody", None, {}), prompt, layout=line.layout))
        self.run()
        assert self.accepted().cached_tokens == 0
        return self.context.asked[-1]

    def _start(self, turn, account, seed, fields) -> Start:
        name = b"%d" % next(self._names)
        asked = {"n": 1, "max_tokens": 1, "temperature": 0.0, "logprobs": -1} | fields
        fixed = {"stop": (), "top_p": 1, "frequency_penalty": 0, "presence_penalty": 0, "logit_bias": {}}
        return Start(name, account, (turn,), seed=seed, **fixed, **asked)

    def run(self) -> None:
        while self.loop.step():
            pass

    def logits(self, *parts, more: int = 0, **fields) -> np.ndarray:
        """What the model would say after these parts, and after each of `more` likeliest tokens: a row each."""
        self.context.asked = ()
        self.add(*parts, max_tokens=1 + more, **fields)
        self.run()
        return np.array(self.context.asked)

    def text(self, name: bytes, choice: int = 0) -> str:
        said = (message for message in self.told if isinstance(message, Text))
        return "".join(one.text for one in said if (one.id, one.choice) == (name, choice))

    def accepted(self) -> Accepted:
        """How the last request was taken."""
        return [message for message in self.told if isinstance(message, Accepted)][-1]

    def helper(self, *parts, more: int = 0) -> np.ndarray:
        """The same by libmtmd's helper, in a context of its own."""
        library, fresh = self.library, self.weights.context(self.sizes)
        library.mtmd_helper_log_set.argtypes = library.mtmd_log_set.argtypes
        library.mtmd_helper_log_set(self.projector._log, None)
        chunks = self._chunks(parts)
        after = c_int32()
        evaluate = library.mtmd_helper_eval_chunks
        evaluate.argtypes = (c_void_p, c_void_p, c_void_p, c_int32, c_int32, c_int32, c_bool, POINTER(c_int32))
        assert not evaluate(self.projector.handle, fresh._handle, chunks, 0, 0, self.sizes.batch, True, after)
        said = [fresh.logits(-1).copy()]
        fresh.outputs[0] = 1
        for position in range(after.value, after.value + more):
            fresh.tokens[0], fresh.positions[0] = said[-1].argmax(), position
            assert not fresh.decode(1)
            said.append(fresh.logits(0).copy())
        library.mtmd_input_chunks_free(chunks)
        library.llama_free.argtypes = (c_void_p,)
        library.llama_free(fresh._handle)
        return np.array(said)

    def _chunks(self, parts):
        library = self.library
        given = [_Part(ctypes.pointer(_Text(part.encode(), len(part.encode()), False, True)), None)
                 if isinstance(part, str) else _Part(None, self.projector._bitmap(part)) for part in parts]  # fmt: skip
        pointers = (c_void_p * len(given))(*(ctypes.addressof(part) for part in given))
        chunks = library.mtmd_input_chunks_init()
        assert not library.mtmd_tokenize_from_parts(
            self.projector.handle, chunks, ctypes.cast(pointers, library.mtmd_tokenize_from_parts.argtypes[2]),
            len(given), False,
        )  # fmt: skip
        return chunks


class _Text(ctypes.Structure):
    """`struct mtmd_input_text`."""

    _fields_ = (("text", c_char_p), ("length", c_size_t), ("add_special", c_bool), ("parse_special", c_bool))


class _Part(ctypes.Structure):
    """`struct mtmd_input_part`."""

    _fields_ = (("text", POINTER(_Text)), ("bitmap", c_void_p))


def turned(parts: Sequence[str | Picture | Sound]) -> Turn:
    """A message of these parts."""
    text, media = "", []
    for part in parts:
        if isinstance(part, str):
            text += part
        else:
            kind = type(part)
            rest = [getattr(part, name) for name in kind.__struct_fields__[1:]]
            media.append(kind(len(text), *rest))
    return Turn("user", text, media=tuple(media))


def picture(seed: int, width: int = 112, height: int = 56) -> Picture:
    """A picture of noise."""
    noise = np.random.default_rng(seed).integers(0, 256, width * height * 3, np.uint8)
    return Picture(0, width, height, noise.tobytes())


def sound(seed: int, seconds: float = 1.0) -> Sound:
    """A sound of noise."""
    noise = np.random.default_rng(seed).integers(-9000, 9000, int(16_000 * seconds), np.int16)
    return Sound(0, noise.astype("<i2").tobytes())
