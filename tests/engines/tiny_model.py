"""A tiny language model with random weights, of Qwen2's, Qwen2-VL's or Qwen3-VL's kind.

Positions of the latter two have several axes; to several layers of the last a picture speaks. It speaks nonsense, in
the words of another model's vocabulary. Keys and names of tensors are those llama.cpp reads.
"""

from pathlib import Path

import numpy as np

import gguf

WIDTH, LAYERS, HEADS, HIDDEN, TRAINED = 64, 2, 2, 96, 4096
DEEP = 1
"""To how many of Qwen3-VL's first layers a picture speaks, beside its rows."""


def write(path: Path, vocabulary_of: Path, template: str | None = None, *, kind: str) -> Path:
    """Write the model, with the vocabulary of another, and its chat template unless one is given."""
    writer = gguf.GGUFWriter(path, kind)
    count = _copy_vocabulary(writer, gguf.GGUFReader(vocabulary_of), template)
    _describe(writer, kind)
    random = np.random.default_rng(0)
    for name, shape in _tensors(kind, count):
        scale = 1.0 if "norm" in name else 0.2
        writer.add_tensor(name, (random.standard_normal(shape) * scale).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _describe(writer, kind):
    writer.add_context_length(TRAINED)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(10000.0)
    if kind != "qwen2":
        writer.add_rope_dimension_sections([4, 6, 6, 0])
    if kind == "qwen3vl":
        writer.add_uint32("qwen3vl.n_deepstack_layers", DEEP)
        writer.add_key_length(WIDTH // HEADS)
        writer.add_value_length(WIDTH // HEADS)


def _tensors(kind, count):
    yield "token_embd.weight", (count, WIDTH)
    yield "output_norm.weight", (WIDTH,)
    for block in (f"blk.{number}" for number in range(LAYERS)):
        yield f"{block}.attn_norm.weight", (WIDTH,)
        yield f"{block}.ffn_norm.weight", (WIDTH,)
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            yield f"{block}.{name}.weight", (WIDTH, WIDTH)
        for name in ("attn_q_norm", "attn_k_norm") if kind == "qwen3vl" else ():
            yield f"{block}.{name}.weight", (WIDTH // HEADS,)
        for name in ("attn_q", "attn_k", "attn_v") if kind != "qwen3vl" else ():
            yield f"{block}.{name}.bias", (WIDTH,)
        yield f"{block}.ffn_gate.weight", (HIDDEN, WIDTH)
        yield f"{block}.ffn_up.weight", (HIDDEN, WIDTH)
        yield f"{block}.ffn_down.weight", (WIDTH, HIDDEN)


def _copy_vocabulary(writer, reader, template):
    for name, field in reader.fields.items():
        if name == "tokenizer.chat_template":
            writer.add_chat_template(template or field.contents())
        elif name.startswith("tokenizer."):
            kind, *inner = field.types
            writer.add_key_value(name, field.contents(), kind, inner[-1] if inner else None)
    return len(reader.fields["tokenizer.ggml.tokens"].data)
