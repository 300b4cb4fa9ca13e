"""A loaded model: its vocabulary, and a context that decodes batches of many sequences."""

import ctypes
import re
from collections.abc import Sequence
from ctypes import POINTER, c_float, c_int32
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from antiphon.engines.llamacpp.binding import Batch, LibraryUnfit, ModelUnfit
from antiphon.engines.llamacpp.layout import Floats, Piece
from antiphon.engines.llamacpp.prefixes import Cells

_AXES = 4
"""Of the positions of models that have several: as llama.cpp's M-RoPE has them."""
_CONTROL = 8
"""`LLAMA_TOKEN_ATTR_CONTROL`."""
_UNKNOWN = 1
"""`LLAMA_TOKEN_ATTR_UNKNOWN`."""
_USER_DEFINED = 16
"""`LLAMA_TOKEN_ATTR_USER_DEFINED`: llama.cpp reads such a token's name in any text, control or not."""
_MARK = re.compile(rb"<\|[a-z_]+\|>")
"""The name of a control token even where it is said to be user-defined, as llama.cpp does with harmony's."""


class Vocabulary:
    """Text to tokens and back. Safe to use from several threads."""

    def __init__(self, library: ctypes.CDLL, model: int) -> None:
        self._library = library
        self._vocab = library.llama_model_get_vocab(model)
        self.size: int = library.llama_vocab_n_tokens(self._vocab)
        self.pieces = [self._piece(token, special=False) for token in range(self.size)]
        """The bytes each token adds to a text; empty for control tokens."""
        self.longest_piece = max(map(len, self.pieces))
        attributes = [library.llama_vocab_get_attr(self._vocab, token) for token in range(self.size)]
        eager = [t for t, has in enumerate(attributes) if has & _USER_DEFINED and _MARK.fullmatch(self.pieces[t])]
        names = [self.pieces[token].decode() for token in eager]
        self._eager = re.compile("|".join(f"(?<=<)(?={re.escape(name[1:])})" for name in names)) if names else None
        for token in eager:
            self.pieces[token] = b""
        marks = {*eager, *(t for t, has in enumerate(attributes) if has & (_CONTROL | _UNKNOWN))}
        self.control = {self._piece(t, special=True).decode("utf-8", "replace"): t for t in sorted(marks)}
        """The text of each control token, to its id: what message text must never be read as."""
        self.ends = frozenset(t for t in range(self.size) if library.llama_vocab_is_eog(self._vocab, t))
        """The tokens that end a turn."""
        self.bos: int | None = self._named(library.llama_vocab_bos)
        self.eos: int | None = self._named(library.llama_vocab_eos)
        self.adds_bos: bool = library.llama_vocab_get_add_bos(self._vocab)

    def text(self, token: int | None) -> str:
        """Give a token's own name, `<|im_end|>` say; empty for None."""
        return "" if token is None else self._piece(token, special=True).decode("utf-8", "replace")

    def tokenize(self, text: str, *, control: bool) -> list[int]:
        """Give the tokens of a text; with `control`, the names of control tokens in it become these tokens."""
        if not control and self._eager is not None:
            return [token for part in self._eager.split(text) for token in self._tokens(part, control=False)]
        return self._tokens(text, control=control)

    def _tokens(self, text: str, *, control: bool) -> list[int]:
        raw = text.encode()
        room = len(raw) + 8
        tokens = (c_int32 * room)()
        count = self._library.llama_tokenize(self._vocab, raw, len(raw), tokens, room, False, control)  # noqa: FBT003
        if count < 0:
            raise LibraryUnfit(f"llama_tokenize asked for {-count} tokens for {len(raw)} bytes")
        return tokens[:count]

    def _piece(self, token: int, *, special: bool) -> bytes:
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            length = self._library.llama_token_to_piece(self._vocab, token, buffer, size, 0, special)
            if length >= 0:
                return buffer.raw[:length]
            size = -length

    def _named(self, getter: object) -> int | None:
        token: int = getter(self._vocab)  # type: ignore[operator]
        return token if token >= 0 else None


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large a context is made."""

    cells: int
    """Tokens that all sequences together may hold."""
    batch: int
    """Tokens, or places of a picture, in one decode."""
    sequences: int
    """Sequence ids; at least two, for the self-check."""
    outputs: int
    """Rows of logits in one decode."""
    threads: int
    """For a decode of one token."""
    batch_threads: int
    """For any other."""


class Weights:
    """A model file in memory."""

    def __init__(self, library: ctypes.CDLL, path: Path) -> None:
        """Load the file.

        Raises:
            ModelUnfit: it is no GGUF, is damaged, or is a kind of model that does not chat.
        """
        self.library = library
        with path.open("rb") as file:
            if file.read(4) != b"GGUF":
                raise ModelUnfit("the weights are not a GGUF file")
        self._model = library.llama_model_load_from_file(str(path).encode(), library.llama_model_default_params())
        if not self._model:
            raise ModelUnfit("llama.cpp could not load the weights: the file is damaged or of an unknown architecture")
        if library.llama_model_has_encoder(self._model):
            raise ModelUnfit("the weights are an encoder model, which does not chat")
        self.trained_context: int = library.llama_model_n_ctx_train(self._model)
        self.is_rewindable = not (
            library.llama_model_is_recurrent(self._model) or library.llama_model_is_hybrid(self._model)
        )
        """Whether a sequence's end can be cut off again; a recurrent state cannot go back."""
        self.vocabulary = Vocabulary(library, self._model)
        self.width: int = library.llama_model_n_embd_inp(self._model)
        """Numbers in the row that stands for a place of a picture or a sound."""

    @property
    def handle(self) -> int:
        """The library's own."""
        handle: int = self._model
        return handle

    def chat_template(self) -> str | None:
        """The Jinja source that came with the weights; None when there is none."""
        source: bytes | None = self.library.llama_model_chat_template(self._model, None)
        return source.decode("utf-8", "replace") if source else None

    def context(self, sizes: Sizes) -> "Context":
        """Make a context.

        Raises:
            ModelUnfit: there is not enough memory for it.
        """
        params = self.library.llama_context_default_params()
        params.n_ctx = sizes.cells
        params.n_batch = params.n_ubatch = sizes.batch
        params.n_seq_max = sizes.sequences
        params.n_outputs_max = sizes.outputs
        params.n_threads, params.n_threads_batch = sizes.threads, sizes.batch_threads
        # One pool of cells for all sequences: a prompt is shared by its choices without a copy, and a batch may mix
        # chunks of prompts with single tokens.
        params.kv_unified = True
        handle = self.library.llama_init_from_model(self._model, params)
        if not handle:
            raise ModelUnfit(f"there is not enough memory for a context of {sizes.cells} tokens")
        return Context(self, handle, sizes)


class Context:
    """The memory of many sequences, and the decode that extends them. For one thread, but for `abort`."""

    def __init__(self, weights: Weights, handle: int, sizes: Sizes) -> None:
        library = weights.library
        self._library, self._handle, self._vocabulary = library, handle, weights.vocabulary.size
        self.is_rewindable = weights.is_rewindable
        self._memory = library.llama_get_memory(handle)
        self.sizes = sizes
        self.tokens = np.zeros(sizes.batch, np.int32)
        self.positions = np.zeros(sizes.batch, np.int32)
        self.sequences = np.zeros(sizes.batch, np.int32)
        self.outputs = np.zeros(sizes.batch, np.int8)
        """The next batch, filled by the caller; `outputs` marks the tokens whose logits are wanted."""
        self._ones = np.ones(sizes.batch, np.int32)
        self._ids = self.sequences.ctypes.data + 4 * np.arange(sizes.batch, dtype=np.uintp)
        self._batch = Batch(
            token=self.tokens.ctypes.data_as(POINTER(c_int32)),
            pos=self.positions.ctypes.data_as(POINTER(c_int32)),
            n_seq_id=self._ones.ctypes.data_as(POINTER(c_int32)),
            seq_id=self._ids.ctypes.data_as(POINTER(POINTER(c_int32))),
            logits=self.outputs.ctypes.data_as(POINTER(ctypes.c_int8)),
        )
        self.rows = np.zeros((sizes.batch, weights.width), np.float32)
        """The next batch where it is of a picture or a sound: a row for each place, in place of tokens."""
        self.axes = np.zeros(_AXES * sizes.batch, np.int32)
        """The positions of these places: all of the first axis, then of the next. (Tokens have one: llama.cpp copies
        it to the other axes.)"""
        self._rows_batch = Batch(
            embd=self.rows.ctypes.data_as(POINTER(c_float)),
            pos=self.axes.ctypes.data_as(POINTER(c_int32)),
            **{name: getattr(self._batch, name) for name in ("n_seq_id", "seq_id", "logits")},
        )
        # The abort callback is libc's strlen: called with our flag, it returns 0 while the flag is an empty string and
        # 1 once it holds a byte. A Python callback would take the GIL for each of the graph's thousand nodes.
        self._flag = ctypes.create_string_buffer(2)
        strlen = ctypes.cast(ctypes.CDLL(None).strlen, ctypes.c_void_p)
        library.llama_set_abort_callback(handle, strlen, ctypes.cast(self._flag, ctypes.c_void_p))

    def abort(self) -> None:
        """Make the running decode return ABORTED within a few milliseconds. May be called from any thread."""
        self._flag[0] = b"\x01"

    def decode(self, count: int, piece: Piece | None = None) -> int:
        """Run the first `count` tokens of the batch, or places of a piece.

        Gives llama_decode's verdict: 0, NO_SLOT, ABORTED or below 0.
        """
        batch = self._rows_batch if piece else self._batch
        batch.n_tokens = count
        is_whole = piece is not None and piece.is_whole
        if is_whole:
            self._library.llama_set_causal_attn(self._handle, False)  # noqa: FBT003
        verdict: int = self._library.llama_decode(self._handle, batch)
        if is_whole:
            self._library.llama_set_causal_attn(self._handle, True)  # noqa: FBT003
        self._flag[0] = b"\x00"
        return verdict

    def logits(self, row: int) -> Floats:
        """Give the logits after the batch's token `row`: shape (vocabulary,), float32, valid until the next decode."""
        address = self._library.llama_get_logits_ith(self._handle, row)
        row_of_floats: Floats = np.ctypeslib.as_array((c_float * self._vocabulary).from_address(address))
        return row_of_floats

    def forget(self, sequence: int, start: int = 0) -> bool:
        """Drop a sequence's tokens from `start` on; False when this kind of memory cannot be cut there."""
        done: bool = self._library.llama_memory_seq_rm(self._memory, sequence, start, -1)
        return done

    def save(self, sequence: int) -> Cells | None:
        """Copy a sequence's cells out; None when they cannot be."""
        size = self._library.llama_state_seq_get_size(self._handle, sequence)
        cells = np.empty(size, np.uint8)
        written = self._library.llama_state_seq_get_data(self._handle, cells.ctypes.data, size, sequence)
        return cells if written == size else None

    def restore(self, sequence: int, cells: Cells) -> bool:
        """Give a sequence the cells that were copied out of another; False, and nothing, when there is no room."""
        done: int = self._library.llama_state_seq_set_data(self._handle, cells.ctypes.data, cells.size, sequence)
        return done > 0

    def clear(self) -> None:
        """Drop every sequence, and begin to fill the memory from its start again."""
        self._library.llama_memory_clear(self._memory, False)  # noqa: FBT003 - the cells' contents may stay

    def share(self, source: int, target: int, end: int) -> None:
        """Let `target` begin with the first `end` tokens of `source`; no cell is copied."""
        self._library.llama_memory_seq_cp(self._memory, source, target, 0, end)

    def check(self, prompt: Sequence[int]) -> None:
        """Decode a few tokens three times, whole and behind a shared and a copied beginning, and see that all agree.

        This is the last part of the self-check: it vouches for the batch's layout, the memory calls and the kernels.

        Raises:
            LibraryUnfit: the library loads but does not compute.
        """
        first = self._run(prompt, 0, 0)
        self.share(0, 1, len(prompt) - 1)
        second = self._run(prompt, 1, len(prompt) - 1)
        self.forget(1, len(prompt) - 1)
        cells = self.save(1)
        self.clear()
        if cells is None or not self.restore(0, cells):
            raise LibraryUnfit("the llama.cpp library does not copy a sequence")
        third = self._run(prompt, 0, len(prompt) - 1)
        self.clear()
        off = max(np.abs(first - second).max(), np.abs(first - third).max())
        if not (np.isfinite(first).all() and first.std() > 0 and off < 1.0):
            raise LibraryUnfit("the llama.cpp library does not compute the same logits again")

    def _run(self, prompt: Sequence[int], sequence: int, start: int) -> Floats:
        count = 0
        for at in range(start, len(prompt), self.sizes.batch):
            tokens = prompt[at : at + self.sizes.batch]
            count = len(tokens)
            self.tokens[:count] = tokens
            self.positions[:count] = np.arange(at, at + count)
            self.sequences[:count] = sequence
            self.outputs[:count] = 0
            self.outputs[count - 1] = 1
            if verdict := self.decode(count):
                raise LibraryUnfit(f"llama_decode answered {verdict} to a batch of {count} tokens")
        return self.logits(count - 1).copy()
