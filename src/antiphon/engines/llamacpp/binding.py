"""llama.cpp's C API as Python calls: what we use of it, checked, and nothing else.

Transcribed from `include/llama.h` of llama.cpp build 11549 (October 2026), which the wheel xllamacpp 2026.10.11549
carries and exports from its one shared object. That export is no promise, so `load` checks every symbol and what the
default parameters say before anything else is called: a library whose structs have another shape refuses to run
instead of corrupting memory. `ANTIPHON_LLAMA_LIBRARY` names another libllama of the same API, built for a GPU say.

Calls release the GIL while they are in C. One thread decodes; tokenising may run beside it, since a vocabulary is
constant once loaded.
"""

import ctypes
import importlib.util
import os
from collections.abc import Callable
from ctypes import POINTER, c_bool, c_char_p, c_float, c_int8, c_int32, c_size_t, c_uint32, c_void_p
from pathlib import Path

LIBRARY_VARIABLE = "ANTIPHON_LLAMA_LIBRARY"

NO_SLOT = 1
"""`llama_decode`: the context has no room for this batch; nothing was changed."""
ABORTED = 2
"""`llama_decode`: the abort callback said stop; what was read so far may remain in the memory."""

_FLASH_ATTENTION_AUTO = -1
_LLAMA_SPLIT_MODE_LAYER = 1


class LibraryUnfit(Exception):
    """The shared object is missing, or is not the llama.cpp this binding was written for."""


class ModelUnfit(Exception):
    """The file is not a model that this library can load, or its context cannot be made."""


class ModelParams(ctypes.Structure):
    """`struct llama_model_params`."""

    _fields_ = (
        ("devices", c_void_p),
        ("tensor_buft_overrides", c_void_p),
        ("n_gpu_layers", c_int32),
        ("split_mode", c_int32),
        ("load_mode", c_int32),
        ("lazy_mode", c_int32),
        ("main_gpu", c_int32),
        ("tensor_split", c_void_p),
        ("progress_callback", c_void_p),
        ("progress_callback_user_data", c_void_p),
        ("kv_overrides", c_void_p),
        ("vocab_only", c_bool),
        ("check_tensors", c_bool),
        ("use_extra_bufts", c_bool),
        ("no_host", c_bool),
        ("no_alloc", c_bool),
        ("load_mtp", c_bool),
    )


class ContextParams(ctypes.Structure):
    """`struct llama_context_params`."""

    _fields_ = (
        ("n_ctx", c_uint32),
        ("n_batch", c_uint32),
        ("n_ubatch", c_uint32),
        ("n_seq_max", c_uint32),
        ("n_rs_seq", c_uint32),
        ("n_outputs_max", c_uint32),
        ("n_outputs_max_per_seq", c_uint32),
        ("n_threads", c_int32),
        ("n_threads_batch", c_int32),
        ("ctx_type", c_int32),
        ("rope_scaling_type", c_int32),
        ("pooling_type", c_int32),
        ("attention_type", c_int32),
        ("flash_attn_type", c_int32),
        ("rope_freq_base", c_float),
        ("rope_freq_scale", c_float),
        ("yarn_ext_factor", c_float),
        ("yarn_attn_factor", c_float),
        ("yarn_beta_fast", c_float),
        ("yarn_beta_slow", c_float),
        ("yarn_orig_ctx", c_uint32),
        ("defrag_thold", c_float),
        ("cb_eval", c_void_p),
        ("cb_eval_user_data", c_void_p),
        ("type_k", c_int32),
        ("type_v", c_int32),
        ("moe_cache_size", c_size_t),
        ("abort_callback", c_void_p),
        ("abort_callback_data", c_void_p),
        ("embeddings", c_bool),
        ("offload_kqv", c_bool),
        ("no_perf", c_bool),
        ("op_offload", c_bool),
        ("swa_full", c_bool),
        ("kv_unified", c_bool),
        ("samplers", c_void_p),
        ("n_samplers", c_size_t),
        ("ctx_other", c_void_p),
    )


class Batch(ctypes.Structure):
    """`struct llama_batch`."""

    _fields_ = (
        ("n_tokens", c_int32),
        ("token", POINTER(c_int32)),
        ("embd", POINTER(c_float)),
        ("pos", POINTER(c_int32)),
        ("n_seq_id", POINTER(c_int32)),
        ("seq_id", POINTER(POINTER(c_int32))),
        ("logits", POINTER(c_int8)),
    )


LOG_CALLBACK = ctypes.CFUNCTYPE(None, c_int32, c_char_p, c_void_p)

_SIGNATURES: dict[str, tuple[object, tuple[object, ...]]] = {
    "llama_backend_init": (None, ()),
    "llama_log_set": (None, (LOG_CALLBACK, c_void_p)),
    "llama_model_default_params": (ModelParams, ()),
    "llama_context_default_params": (ContextParams, ()),
    "llama_model_load_from_file": (c_void_p, (c_char_p, ModelParams)),
    "llama_init_from_model": (c_void_p, (c_void_p, ContextParams)),
    "llama_model_get_vocab": (c_void_p, (c_void_p,)),
    "llama_model_n_ctx_train": (c_int32, (c_void_p,)),
    "llama_model_n_embd_inp": (c_int32, (c_void_p,)),
    "llama_model_is_recurrent": (c_bool, (c_void_p,)),
    "llama_model_is_hybrid": (c_bool, (c_void_p,)),
    "llama_model_has_encoder": (c_bool, (c_void_p,)),
    "llama_model_meta_val_str": (c_int32, (c_void_p, c_char_p, c_char_p, c_size_t)),
    "llama_model_chat_template": (c_char_p, (c_void_p, c_char_p)),
    "llama_vocab_n_tokens": (c_int32, (c_void_p,)),
    "llama_vocab_bos": (c_int32, (c_void_p,)),
    "llama_vocab_eos": (c_int32, (c_void_p,)),
    "llama_vocab_is_eog": (c_bool, (c_void_p, c_int32)),
    "llama_vocab_is_control": (c_bool, (c_void_p, c_int32)),
    "llama_vocab_get_attr": (c_int32, (c_void_p, c_int32)),
    "llama_vocab_get_add_bos": (c_bool, (c_void_p,)),
    "llama_tokenize": (c_int32, (c_void_p, c_char_p, c_int32, POINTER(c_int32), c_int32, c_bool, c_bool)),
    "llama_token_to_piece": (c_int32, (c_void_p, c_int32, c_char_p, c_int32, c_int32, c_bool)),
    "llama_decode": (c_int32, (c_void_p, Batch)),
    "llama_set_causal_attn": (None, (c_void_p, c_bool)),
    "llama_get_logits_ith": (c_void_p, (c_void_p, c_int32)),
    "llama_get_memory": (c_void_p, (c_void_p,)),
    "llama_memory_clear": (None, (c_void_p, c_bool)),
    "llama_memory_seq_rm": (c_bool, (c_void_p, c_int32, c_int32, c_int32)),
    "llama_memory_seq_cp": (None, (c_void_p, c_int32, c_int32, c_int32, c_int32)),
    "llama_state_seq_get_size": (c_size_t, (c_void_p, c_int32)),
    "llama_state_seq_get_data": (c_size_t, (c_void_p, c_void_p, c_size_t, c_int32)),
    "llama_state_seq_set_data": (c_size_t, (c_void_p, c_void_p, c_size_t, c_int32)),
    "llama_n_ctx": (c_uint32, (c_void_p,)),
    "llama_set_abort_callback": (None, (c_void_p, c_void_p, c_void_p)),
}


def library_path() -> Path:
    """Find the shared object: the one `ANTIPHON_LLAMA_LIBRARY` names, else the one in the wheel xllamacpp.

    Raises:
        LibraryUnfit: there is none.
    """
    if named := os.environ.get(LIBRARY_VARIABLE):
        return Path(named)
    spec = importlib.util.find_spec("xllamacpp")  # found, not imported: its own start-up code is not wanted here
    for place in (spec.submodule_search_locations or ()) if spec else ():
        for found in sorted(Path(place).glob("xllamacpp*.so")) + sorted(Path(place).glob("xllamacpp*.pyd")):
            return found
    raise LibraryUnfit("llama.cpp is not installed: pip install 'antiphon[llamacpp]'")


def load(path: Path, log: Callable[[int, str], None]) -> ctypes.CDLL:
    """Open the library, declare what we use of it and check that it is the one this binding was written for.

    Args:
        path: the shared object.
        log: takes each of the library's log lines with its level (2 info, 3 warning, 4 error).

    Raises:
        LibraryUnfit: with one line that says what does not fit.
    """
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise LibraryUnfit(f"the llama.cpp library cannot be opened: {error}") from error
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name, None)
        if function is None:
            raise LibraryUnfit(f"the llama.cpp library lacks {name}")
        function.restype, function.argtypes = result, arguments
    _check_defaults(library)
    callback = LOG_CALLBACK(lambda level, text, _: log(level, (text or b"").decode("utf-8", "replace")))
    library.llama_log_set(callback, None)
    library.__dict__["kept_log"] = callback  # the library keeps the pointer, so the object must live as long as it does
    library.llama_backend_init()
    return library


def _check_defaults(library: ctypes.CDLL) -> None:
    """Compare the defaults of both parameter structs, near their ends too, with those of build 11549.

    A field added or removed anywhere shifts the ones behind it, so these few values vouch for the whole layout.
    """
    model, context = library.llama_model_default_params(), library.llama_context_default_params()
    expected = {
        "split_mode": (model.split_mode, _LLAMA_SPLIT_MODE_LAYER),
        "main_gpu": (model.main_gpu, 0),
        "kv_overrides": (model.kv_overrides, None),
        "vocab_only": (model.vocab_only, False),
        "use_extra_bufts": (model.use_extra_bufts, True),
        "n_ctx": (context.n_ctx, 512),
        "n_batch": (context.n_batch, 2048),
        "n_ubatch": (context.n_ubatch, 512),
        "n_seq_max": (context.n_seq_max, 1),
        "flash_attn_type": (context.flash_attn_type, _FLASH_ATTENTION_AUTO),
        "yarn_beta_fast": (context.yarn_beta_fast, -1.0),
        "type_k": (context.type_k, 1),
        "type_v": (context.type_v, 1),
        "abort_callback": (context.abort_callback, None),
        "offload_kqv": (context.offload_kqv, True),
        "no_perf": (context.no_perf, True),
        "kv_unified": (context.kv_unified, False),
        "samplers": (context.samplers, None),
        "n_samplers": (context.n_samplers, 0),
        "ctx_other": (context.ctx_other, None),
    }
    wrong = [f"{name} is {found!r}, not {wanted!r}" for name, (found, wanted) in expected.items() if found != wanted]
    if wrong:
        raise LibraryUnfit(f"the llama.cpp library is another build than 11549: default {'; '.join(wrong)}")
