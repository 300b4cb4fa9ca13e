"""Pictures for a model that sees: llama.cpp's libmtmd as Python calls, and what it makes of a picture.

Transcribed from `tools/mtmd/mtmd.h` of llama.cpp as of autumn 2026; the wheel exports it with the rest. Symbols and
default parameters are checked before anything else is called, and one picture is encoded twice.

A picture becomes rows of numbers, one for each of its places in the prompt, which stand where tokens' own rows would.
In a prompt each place is a negative number that stands for this row of this picture: so prompts that share a picture
share a beginning, and two pictures never look alike.
"""

import ctypes
import hashlib
import itertools
from collections import OrderedDict
from collections.abc import Callable, Mapping
from ctypes import POINTER, c_bool, c_char_p, c_float, c_int32, c_size_t, c_uint32, c_void_p
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from antiphon.engines.llamacpp.binding import LOG_CALLBACK, LibraryUnfit, ModelUnfit
from antiphon.engines.llamacpp.model import Floats
from antiphon.engines.llamacpp.protocol import Picture

SEEN_BYTES = 64 * 1024 * 1024
"""How much of encoded pictures is remembered: a conversation sends its pictures again with every turn."""
_TEXT, _IMAGE = 0, 1
"""`enum mtmd_input_chunk_type`."""
_TEST_SIDE = 64


class _Params(ctypes.Structure):
    """`struct mtmd_context_params`."""

    _fields_ = (
        ("use_gpu", c_bool),
        ("device", c_void_p),
        ("print_timings", c_bool),
        ("n_threads", c_int32),
        ("image_marker", c_char_p),
        ("media_marker", c_char_p),
        ("flash_attn_type", c_int32),
        ("warmup", c_bool),
        ("image_min_tokens", c_int32),
        ("image_max_tokens", c_int32),
        ("cb_eval", c_void_p),
        ("cb_eval_user_data", c_void_p),
        ("batch_max_tokens", c_int32),
        ("progress_callback", c_void_p),
        ("progress_callback_user_data", c_void_p),
    )


class _Part(ctypes.Structure):
    """`struct mtmd_input_part`: a text or a picture."""

    _fields_ = (("text", c_void_p), ("bitmap", c_void_p))


_SIGNATURES: dict[str, tuple[object, tuple[object, ...]]] = {
    "mtmd_log_set": (None, (LOG_CALLBACK, c_void_p)),
    "mtmd_context_params_default": (_Params, ()),
    "mtmd_init_from_file": (c_void_p, (c_char_p, c_void_p, _Params)),
    "mtmd_support_vision": (c_bool, (c_void_p,)),
    "mtmd_decode_use_mrope": (c_bool, (c_void_p,)),
    "mtmd_decode_use_non_causal": (c_bool, (c_void_p, c_void_p)),
    "mtmd_bitmap_init": (c_void_p, (c_uint32, c_uint32, c_char_p)),
    "mtmd_bitmap_free": (None, (c_void_p,)),
    "mtmd_input_chunks_init": (c_void_p, ()),
    "mtmd_input_chunks_size": (c_size_t, (c_void_p,)),
    "mtmd_input_chunks_get": (c_void_p, (c_void_p, c_size_t)),
    "mtmd_input_chunks_free": (None, (c_void_p,)),
    "mtmd_input_chunk_get_type": (c_int32, (c_void_p,)),
    "mtmd_input_chunk_get_n_tokens": (c_size_t, (c_void_p,)),
    "mtmd_input_chunk_get_n_pos": (c_int32, (c_void_p,)),
    "mtmd_input_chunk_get_tokens_text": (POINTER(c_int32), (c_void_p, POINTER(c_size_t))),
    "mtmd_tokenize_from_parts": (c_int32, (c_void_p, c_void_p, POINTER(POINTER(_Part)), c_size_t, c_bool)),
    "mtmd_encode_chunk": (c_int32, (c_void_p, c_void_p)),
    "mtmd_get_output_embd": (c_void_p, (c_void_p,)),
}


class NotSeen(Exception):
    """A picture could not be encoded."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A picture as it stands in a prompt."""

    tokens: list[int]
    """Tokens of the model's own around it, and a negative number for each of its places."""
    rows: Mapping[int, Floats]
    """What each of these numbers stands for: shape (width of the model,), float32."""


class Eye:
    """Encodes pictures. For one thread, which may be another than decodes."""

    def __init__(
        self, library: ctypes.CDLL, model: int, path: Path, threads: int, log: Callable[[int, str], None]
    ) -> None:
        """Load the projector that goes with a model.

        Args:
            library: llama.cpp.
            model: its handle of the model.
            path: the mmproj file.
            threads: for encoding.
            log: takes the library's log lines.

        Raises:
            LibraryUnfit: the library is another build.
            ModelUnfit: the file is none, goes with another model, or asks for what is not built here.
        """
        params = _checked(library)
        params.use_gpu, params.n_threads, params.warmup, params.print_timings = False, threads, False, False
        # The library keeps the pointer, so the object must live as long as it does.
        self._log = LOG_CALLBACK(lambda level, text, _: log(level, (text or b"").decode("utf-8", "replace")))
        library.mtmd_log_set(self._log, None)
        self._library, self._width = library, int(library.llama_model_n_embd(model))
        self._context = library.mtmd_init_from_file(str(path).encode(), model, params)
        if not self._context:
            raise ModelUnfit("the mmproj is damaged, of an unknown kind, or goes with another model")
        if not library.mtmd_support_vision(self._context):
            raise ModelUnfit("the mmproj does not see")
        if library.mtmd_decode_use_mrope(self._context) or library.mtmd_decode_use_non_causal(self._context, None):
            raise ModelUnfit("the mmproj needs positions in two dimensions or attention backwards: not supported yet")
        self._numbers = itertools.count(-1, -1)
        self._seen: OrderedDict[bytes, Seen] = OrderedDict()
        self._bytes = 0
        self._check()

    def see(self, picture: Picture) -> Seen:
        """Encode a picture; one that was seen before is known again.

        Raises:
            NotSeen: it cannot be.
        """
        digest = hashlib.sha256(b"%d %d " % (picture.width, picture.height) + picture.rgb).digest()
        seen = self._seen.pop(digest, None)
        if seen is None:
            seen = self._encode(picture)
            self._bytes += len(seen.rows) * self._width * 4
        self._seen[digest] = seen
        while self._bytes > SEEN_BYTES and len(self._seen) > 1:
            _, forgotten = self._seen.popitem(last=False)
            self._bytes -= len(forgotten.rows) * self._width * 4
        return seen

    def _encode(self, picture: Picture) -> Seen:
        library = self._library
        bitmap = library.mtmd_bitmap_init(picture.width, picture.height, picture.rgb)
        chunks = library.mtmd_input_chunks_init()
        try:
            parts = (POINTER(_Part) * 1)(ctypes.pointer(_Part(None, bitmap)))
            if library.mtmd_tokenize_from_parts(self._context, chunks, parts, 1, False):  # noqa: FBT003
                raise NotSeen
            tokens: list[int] = []
            rows: dict[int, Floats] = {}
            for number in range(library.mtmd_input_chunks_size(chunks)):
                chunk = library.mtmd_input_chunks_get(chunks, number)
                if library.mtmd_input_chunk_get_type(chunk) == _TEXT:
                    count = c_size_t()
                    tokens += library.mtmd_input_chunk_get_tokens_text(chunk, ctypes.byref(count))[: count.value]
                    continue
                for row in self._rows(chunk):
                    tokens.append(next(self._numbers))
                    rows[tokens[-1]] = row
            return Seen(tokens, rows)
        finally:
            library.mtmd_input_chunks_free(chunks)
            library.mtmd_bitmap_free(bitmap)

    def _rows(self, chunk: int) -> Floats:
        """Encode one chunk: shape (places, width), float32."""
        library = self._library
        count = library.mtmd_input_chunk_get_n_tokens(chunk)
        is_plain = library.mtmd_input_chunk_get_type(chunk) == _IMAGE
        if not is_plain or library.mtmd_input_chunk_get_n_pos(chunk) != count:
            raise NotSeen
        if library.mtmd_encode_chunk(self._context, chunk):
            raise NotSeen
        address = library.mtmd_get_output_embd(self._context)
        found = np.ctypeslib.as_array((c_float * (count * self._width)).from_address(address))
        rows: Floats = found.reshape(count, self._width).copy()
        return rows

    def _check(self) -> None:
        """Encode one picture twice, and see that both agree: this vouches for the structs' layout and the kernels."""
        shades = np.linspace(0, 255, _TEST_SIDE * _TEST_SIDE * 3).astype(np.uint8).tobytes()
        try:
            first, second = (self._encode(Picture(0, _TEST_SIDE, _TEST_SIDE, shades)) for _ in range(2))
        except NotSeen:
            raise ModelUnfit("the mmproj cannot encode a picture") from None
        one, other = (np.array(list(seen.rows.values())) for seen in (first, second))
        if not (one.size and np.isfinite(one).all() and np.abs(one - other).max() < 1e-3):  # noqa: PLR2004
            raise LibraryUnfit("the llama.cpp library does not encode the same picture alike")


def _checked(library: ctypes.CDLL) -> _Params:
    """Declare what is used, and compare the default parameters with those of the build this was written for."""
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name, None)
        if function is None:
            raise LibraryUnfit(f"the llama.cpp library lacks {name}")
        function.restype, function.argtypes = result, arguments
    params: _Params = library.mtmd_context_params_default()
    expected = {
        "n_threads": 4,
        "media_marker": b"<__media__>",
        "flash_attn_type": -1,
        "warmup": True,
        "image_min_tokens": -1,
        "image_max_tokens": -1,
        "cb_eval": None,
        "batch_max_tokens": 1024,
        "progress_callback": None,
    }
    wrong = [name for name, wanted in expected.items() if getattr(params, name) != wanted]
    if wrong:
        raise LibraryUnfit(f"the llama.cpp library has another libmtmd: default {', '.join(wrong)}")
    return params
