"""libmtmd as Python calls: what turns a picture or a sound into rows of a model's input.

Transcribed from `tools/mtmd/mtmd.h` and `mtmd-helper.h` of llama.cpp as of autumn 2026; the wheel exports them with the
rest. Symbols and default parameters are checked before anything else is called.
"""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import POINTER, c_bool, c_char_p, c_float, c_int32, c_size_t, c_uint32, c_void_p
from pathlib import Path

import numpy as np

from antiphon.engines.llamacpp.binding import LOG_CALLBACK, LibraryUnfit, ModelUnfit
from antiphon.engines.llamacpp.layout import Axes, Floats, Ints, Piece
from antiphon.engines.llamacpp.protocol import Picture, Sound

_TEXT, _IMAGE, _AUDIO = 0, 1, 2
"""`enum mtmd_input_chunk_type`."""
_AXES = 4
_PCM_PEAK = 32768


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
    "mtmd_support_audio": (c_bool, (c_void_p,)),
    "mtmd_get_audio_sample_rate": (c_int32, (c_void_p,)),
    "mtmd_decode_use_mrope": (c_bool, (c_void_p,)),
    "mtmd_decode_use_non_causal": (c_bool, (c_void_p, c_void_p)),
    "mtmd_bitmap_init": (c_void_p, (c_uint32, c_uint32, c_char_p)),
    "mtmd_bitmap_init_from_audio": (c_void_p, (c_size_t, c_void_p)),
    "mtmd_bitmap_free": (None, (c_void_p,)),
    "mtmd_input_chunks_init": (c_void_p, ()),
    "mtmd_input_chunks_size": (c_size_t, (c_void_p,)),
    "mtmd_input_chunks_get": (c_void_p, (c_void_p, c_size_t)),
    "mtmd_input_chunks_free": (None, (c_void_p,)),
    "mtmd_input_chunk_get_type": (c_int32, (c_void_p,)),
    "mtmd_input_chunk_get_n_tokens": (c_size_t, (c_void_p,)),
    "mtmd_input_chunk_get_n_pos": (c_int32, (c_void_p,)),
    "mtmd_input_chunk_get_tokens_text": (POINTER(c_int32), (c_void_p, POINTER(c_size_t))),
    "mtmd_input_chunk_get_tokens_image": (c_void_p, (c_void_p,)),
    "mtmd_helper_image_get_decoder_pos": (None, (c_void_p, c_int32, c_void_p)),
    "mtmd_tokenize_from_parts": (c_int32, (c_void_p, c_void_p, POINTER(POINTER(_Part)), c_size_t, c_bool)),
    "mtmd_encode_chunk": (c_int32, (c_void_p, c_void_p)),
    "mtmd_get_output_embd": (c_void_p, (c_void_p,)),
}


class NotTaken(Exception):
    """A picture or a sound could not be encoded."""


class Projector:
    """What an mmproj file encodes. For one thread, which may be another than decodes."""

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
            ModelUnfit: the file is none, or goes with another model.
        """
        params = _checked(library)
        params.use_gpu, params.n_threads, params.warmup, params.print_timings = False, threads, False, False
        # The library keeps the pointer, so the object must live as long as it does.
        self._log = LOG_CALLBACK(lambda level, text, _: log(level, (text or b"").decode("utf-8", "replace")))
        library.mtmd_log_set(self._log, None)
        # Wider than a token's row where the encoder speaks to several of the model's layers, as Qwen3-VL's does.
        self._library, self.width = library, int(library.llama_model_n_embd_inp(model))
        self.handle = library.mtmd_init_from_file(str(path).encode(), model, params)
        if not self.handle:
            raise ModelUnfit("the mmproj is damaged, of an unknown kind, or goes with another model")
        self.sees: bool = library.mtmd_support_vision(self.handle)
        self.hears_hz: int = library.mtmd_get_audio_sample_rate(self.handle)
        """Samples a second of what it hears; below 0 when it does not."""
        self._has_axes: bool = library.mtmd_decode_use_mrope(self.handle)

    def encode(self, medium: Picture | Sound) -> Iterator[list[int] | Piece]:
        """Give what stands for a picture or a sound: tokens of the model's own, and pieces.

        Raises:
            NotTaken: it cannot be encoded.
        """
        with self._chunks(medium) as chunks:
            for chunk in chunks:
                if self._library.mtmd_input_chunk_get_type(chunk) == _TEXT:
                    count = c_size_t()
                    tokens = self._library.mtmd_input_chunk_get_tokens_text(chunk, ctypes.byref(count))
                    yield tokens[: count.value]
                else:
                    yield self._piece(chunk)

    def most_at_once(self, picture: Picture) -> int:
        """Give how many places of a picture must be read in one batch; 1 where each may be read by itself.

        Raises:
            NotTaken: it cannot be cut up.
        """
        library = self._library
        with self._chunks(picture) as chunks:
            return max(
                (library.mtmd_input_chunk_get_n_tokens(chunk) for chunk in chunks if self._is_whole(chunk)), default=1
            )

    @contextmanager
    def _chunks(self, medium: Picture | Sound) -> Iterator[list[int]]:
        """Cut a medium up for the encoder; the chunks are gone when the body ends."""
        library = self._library
        bitmap, chunks = self._bitmap(medium), library.mtmd_input_chunks_init()
        try:
            parts = (POINTER(_Part) * 1)(ctypes.pointer(_Part(None, bitmap)))
            if library.mtmd_tokenize_from_parts(self.handle, chunks, parts, 1, False):  # noqa: FBT003
                raise NotTaken
            count = library.mtmd_input_chunks_size(chunks)
            yield [library.mtmd_input_chunks_get(chunks, number) for number in range(count)]
        finally:
            library.mtmd_input_chunks_free(chunks)
            library.mtmd_bitmap_free(bitmap)

    def _bitmap(self, medium: Picture | Sound) -> int:
        bitmap: int
        if isinstance(medium, Picture):
            bitmap = self._library.mtmd_bitmap_init(medium.width, medium.height, medium.rgb)
        else:
            samples = np.frombuffer(medium.pcm, "<i2").astype(np.float32) / _PCM_PEAK
            bitmap = self._library.mtmd_bitmap_init_from_audio(samples.size, samples.ctypes.data)
        return bitmap

    def _is_whole(self, chunk: int) -> bool:
        is_media = self._library.mtmd_input_chunk_get_type(chunk) != _TEXT
        return is_media and bool(self._library.mtmd_decode_use_non_causal(self.handle, chunk))

    def _piece(self, chunk: int) -> Piece:
        library = self._library
        if library.mtmd_encode_chunk(self.handle, chunk):
            raise NotTaken
        count = library.mtmd_input_chunk_get_n_tokens(chunk)
        address = library.mtmd_get_output_embd(self.handle)
        rows: Floats = np.ctypeslib.as_array((c_float * (count * self.width)).from_address(address))
        return Piece(
            rows.reshape(count, self.width).copy(),
            library.mtmd_input_chunk_get_n_pos(chunk),
            self._axes(chunk, count) if self._has_axes else None,
            self._is_whole(chunk),
            library.mtmd_input_chunk_get_type(chunk) == _AUDIO,
        )

    def _axes(self, chunk: int, count: int) -> Axes:
        """Find how a piece's places are counted, by looking where they are when it stands at 0 and at 1."""
        if self._library.mtmd_input_chunk_get_type(chunk) != _IMAGE:
            base = np.tile(np.arange(count, dtype=np.int32), (_AXES, 1))
            return Axes(base, np.ones_like(base))
        image = self._library.mtmd_input_chunk_get_tokens_image(chunk)
        found = np.zeros((2, count, _AXES), np.int32)
        for position in range(2):
            self._library.mtmd_helper_image_get_decoder_pos(image, position, found[position].ctypes.data)
        # `struct mtmd_decoder_pos` is t, x, y, z; a batch has t, y, x, z.
        base, later = (np.ascontiguousarray(one.T[[0, 2, 1, 3]]) for one in found)
        steps: Ints = later - base
        return Axes(base, steps)


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
