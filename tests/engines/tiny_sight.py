"""A tiny projector for the default model, with random weights: it sees nothing sensible, and every difference.

    python -m tests.engines.tiny_sight FILE

The kind is LLaVA's: a vision transformer whose patches go through two layers into the language model's rows. Keys and
names of tensors are those llama.cpp's clip.cpp reads.
"""

import sys
from pathlib import Path

import numpy as np

import gguf

MODEL_WIDTH = 576
"""Of SmolLM2-135M."""
SIDE, PATCH, WIDTH, LAYERS, HEADS, HIDDEN = 28, 14, 32, 2, 2, 64
PLACES = (SIDE // PATCH) ** 2
"""How many places a picture takes in a prompt."""


def write(path: Path, *, width: int = MODEL_WIDTH, seed: int = 0) -> Path:
    """Write the projector, for a language model of some width."""
    writer = gguf.GGUFWriter(path, "clip")
    _describe(writer, width)
    random = np.random.default_rng(seed)

    def add(name, *shape, scale=0.2):
        writer.add_tensor(name, (random.standard_normal(shape) * scale).astype(np.float32))

    add("v.patch_embd.weight", WIDTH, 3, PATCH, PATCH)
    add("v.position_embd.weight", PLACES + 1, WIDTH)
    for name in ("v.class_embd", "v.pre_ln.weight", "v.pre_ln.bias", "v.post_ln.weight", "v.post_ln.bias"):
        add(name, WIDTH)
    for block in (f"v.blk.{number}" for number in range(LAYERS)):
        for name in ("attn_q", "attn_k", "attn_v", "attn_out"):
            add(f"{block}.{name}.weight", WIDTH, WIDTH)
            add(f"{block}.{name}.bias", WIDTH)
        for name in ("ln1", "ln2"):
            add(f"{block}.{name}.weight", WIDTH, scale=1.0)
            add(f"{block}.{name}.bias", WIDTH)
        for name, outputs, inputs in (("ffn_up", HIDDEN, WIDTH), ("ffn_down", WIDTH, HIDDEN)):
            add(f"{block}.{name}.weight", outputs, inputs)
            add(f"{block}.{name}.bias", outputs)
    for name, inputs in (("mm.0", WIDTH), ("mm.2", width)):
        add(f"{name}.weight", width, inputs)
        add(f"{name}.bias", width)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _describe(writer, width):
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_bool("clip.use_gelu", True)
    writer.add_string("clip.projector_type", "mlp")
    sizes = {
        "image_size": SIDE,
        "patch_size": PATCH,
        "embedding_length": WIDTH,
        "feed_forward_length": HIDDEN,
        "block_count": LAYERS,
        "projection_dim": width,
        "attention.head_count": HEADS,
    }
    for name, size in sizes.items():
        writer.add_uint32(f"clip.vision.{name}", size)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-5)
    for name in ("image_mean", "image_std"):
        writer.add_array(f"clip.vision.{name}", [0.5, 0.5, 0.5])


if __name__ == "__main__":
    write(Path(sys.argv[1]))
