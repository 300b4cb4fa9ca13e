"""A tiny language model with random weights, Qwen2's or Qwen2-VL's kind: positions of the latter have several axes.

It speaks nonsense, in the words of another model's vocabulary. Keys and names of tensors are those llama.cpp reads.
"""

from pathlib import Path

import numpy as np

import gguf

WIDTH, LAYERS, HEADS, HIDDEN, TRAINED = 64, 2, 2, 96, 4096


def write(path: Path, vocabulary_of: Path, template: str | None = None, *, has_axes: bool) -> Path:
    """Write the model, with the vocabulary of another, and its chat template unless one is given."""
    writer = gguf.GGUFWriter(path, "qwen2vl" if has_axes else "qwen2")
    count = _copy_vocabulary(writer, gguf.GGUFReader(vocabulary_of), template)
    writer.add_context_length(TRAINED)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(10000.0)
    if has_axes:
        writer.add_rope_dimension_sections([4, 6, 6, 0])
    random = np.random.default_rng(0)

    def add(name, *shape, scale=0.2):
        writer.add_tensor(name, (random.standard_normal(shape) * scale).astype(np.float32))

    add("token_embd.weight", count, WIDTH)
    add("output_norm.weight", WIDTH, scale=1.0)
    for block in (f"blk.{number}" for number in range(LAYERS)):
        for name in ("attn_norm", "ffn_norm"):
            add(f"{block}.{name}.weight", WIDTH, scale=1.0)
        for name in ("attn_q", "attn_k", "attn_v"):
            add(f"{block}.{name}.weight", WIDTH, WIDTH)
            add(f"{block}.{name}.bias", WIDTH)
        add(f"{block}.attn_output.weight", WIDTH, WIDTH)
        add(f"{block}.ffn_gate.weight", HIDDEN, WIDTH)
        add(f"{block}.ffn_up.weight", HIDDEN, WIDTH)
        add(f"{block}.ffn_down.weight", WIDTH, HIDDEN)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _copy_vocabulary(writer, reader, template):
    for name, field in reader.fields.items():
        if name == "tokenizer.chat_template":
            writer.add_chat_template(template or field.contents())
        elif name.startswith("tokenizer."):
            kind, *inner = field.types
            writer.add_key_value(name, field.contents(), kind, inner[-1] if inner else None)
    return len(reader.fields["tokenizer.ggml.tokens"].data)
