"""Tiny projectors with random weights: they see and hear nothing sensible, and every difference.

    python -m tests.engines.tiny_sight FILE

Of four kinds: LLaVA's, whose places stand in a row; Qwen2-VL's, whose places stand in a grid as wide and high as the
picture; Gemma 3's, whose places see each other both ways; Ultravox's, which hears. Keys and names of tensors are those
llama.cpp's clip.cpp reads.
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
GEMMA_SIDE = 224
GEMMA_PLACES = (GEMMA_SIDE // PATCH // 4) ** 2
"""Gemma's make one place of sixteen patches."""
QWEN_CELL = 2 * PATCH
"""Qwen's make one place of four patches: so wide and high a part of a picture."""
MELS, STACK, HEARD = 80, 12, 1500
"""What Whisper has of frequencies; how many moments one place is made of; how many half a minute has. (Ultravox makes
one of eight: then this build of llama.cpp counts 187 places, computes 188, and ends the process.)"""
SOUND_PLACES = HEARD // STACK
"""How many places half a minute takes, and whatever is shorter."""


class Writer:
    """A projector while it is written."""

    def __init__(self, path: Path, seed: int) -> None:
        self._writer = gguf.GGUFWriter(path, "clip")
        self._random = np.random.default_rng(seed)
        self._writer.add_bool("clip.use_gelu", True)

    def describe(self, sense: str, kind: str, width: int, **sizes: int) -> None:
        """Say of what kind and how large the encoder of one sense is, and how wide the language model."""
        self._writer.add_string(f"clip.{sense}.projector_type", kind)
        self._writer.add_bool(f"clip.has_{sense}_encoder", True)
        sizes |= {
            "embedding_length": WIDTH,
            "feed_forward_length": HIDDEN,
            "block_count": LAYERS,
            "projection_dim": width,
            "attention.head_count": HEADS,
        }
        for name, size in sizes.items():
            self._writer.add_uint32(f"clip.{sense}.{name}", size)
        self._writer.add_float32(f"clip.{sense}.attention.layer_norm_epsilon", 1e-5)
        for name in ("image_mean", "image_std") if sense == "vision" else ():
            self._writer.add_array(f"clip.{sense}.{name}", [0.5, 0.5, 0.5])

    def add(self, name: str, *shape: int, scale: float = 0.2) -> None:
        self._writer.add_tensor(name, (self._random.standard_normal(shape) * scale).astype(np.float32))

    def linear(self, name: str, outputs: int, inputs: int) -> None:
        self.add(f"{name}.weight", outputs, inputs)
        self.add(f"{name}.bias", outputs)

    def norm(self, name: str) -> None:
        self.add(f"{name}.weight", WIDTH, scale=1.0)
        self.add(f"{name}.bias", WIDTH)

    def blocks(self, prefix: str, *, key_bias: bool = True, is_fused: bool = False) -> None:
        """The transformer."""
        for block in (f"{prefix}.blk.{number}" for number in range(LAYERS)):
            self.linear(f"{block}.attn_out", WIDTH, WIDTH)
            if is_fused:
                self.linear(f"{block}.attn_qkv", 3 * WIDTH, WIDTH)
            for name in () if is_fused else ("attn_q", "attn_v", "attn_k"):
                self.add(f"{block}.{name}.weight", WIDTH, WIDTH)
                if key_bias or name != "attn_k":
                    self.add(f"{block}.{name}.bias", WIDTH)
            for name in ("ln1", "ln2"):
                self.norm(f"{block}.{name}")
            self.linear(f"{block}.ffn_up", HIDDEN, WIDTH)
            self.linear(f"{block}.ffn_down", WIDTH, HIDDEN)

    def deepen(self, inputs: int, width: int) -> None:
        """What the first block says to one of the model's layers."""
        self._writer.add_array("clip.vision.is_deepstack_layers", [number == 0 for number in range(LAYERS)])
        self.add("v.deepstack.0.norm.weight", inputs, scale=1.0)
        self.add("v.deepstack.0.norm.bias", inputs)
        self.linear("v.deepstack.0.fc1", inputs, inputs)
        self.linear("v.deepstack.0.fc2", width, inputs)

    def close(self) -> None:
        self._writer.write_header_to_file()
        self._writer.write_kv_data_to_file()
        self._writer.write_tensors_to_file()
        self._writer.close()


def write(path: Path, *, width: int = MODEL_WIDTH, seed: int = 0) -> Path:
    """Write a projector of LLaVA's kind, for a language model of some width."""
    writer = Writer(path, seed)
    writer.describe("vision", "mlp", width, image_size=SIDE, patch_size=PATCH)
    writer.add("v.patch_embd.weight", WIDTH, 3, PATCH, PATCH)
    writer.add("v.position_embd.weight", PLACES + 1, WIDTH)
    writer.add("v.class_embd", WIDTH)
    for name in ("v.pre_ln", "v.post_ln"):
        writer.norm(name)
    writer.blocks("v")
    for name, inputs in (("mm.0", WIDTH), ("mm.2", width)):
        writer.linear(name, width, inputs)
    writer.close()
    return path


def write_qwen(path: Path, *, width: int = MODEL_WIDTH, seed: int = 0) -> Path:
    """Write a projector of Qwen2-VL's kind: a picture's places are as many as it is large."""
    writer = Writer(path, seed)
    _add_qwen(writer, width)
    writer.close()
    return path


def _add_qwen(writer: Writer, width: int, *, kind: str = "qwen2vl_merger") -> None:
    writer.describe("vision", kind, width, image_size=GEMMA_SIDE, patch_size=PATCH)
    for name in ("v.patch_embd.weight", "v.patch_embd.weight.1"):
        writer.add(name, WIDTH, 3, PATCH, PATCH)
    writer.norm("v.post_ln")
    writer.blocks("v", is_fused=kind == "qwen3vl_merger")
    for name, inputs in (("mm.0", 4 * WIDTH), ("mm.2", width)):
        writer.linear(name, width, inputs)


def write_deep(path: Path, *, width: int = MODEL_WIDTH, seed: int = 0) -> Path:
    """Write a projector of Qwen3-VL's kind: its rows have a part for each layer of the model that it speaks to."""
    writer = Writer(path, seed)
    _add_qwen(writer, width, kind="qwen3vl_merger")
    writer.add("v.patch_embd.bias", WIDTH)
    writer.add("v.position_embd.weight", (GEMMA_SIDE // PATCH) ** 2, WIDTH)
    writer.deepen(4 * WIDTH, width)
    writer.close()
    return path


def write_gemma(path: Path, *, width: int = MODEL_WIDTH, seed: int = 0) -> Path:
    """Write a projector of Gemma 3's kind: GEMMA_PLACES places, read at once."""
    writer = Writer(path, seed)
    writer.describe("vision", "gemma3", width, image_size=GEMMA_SIDE, patch_size=PATCH)
    writer.add("v.patch_embd.weight", WIDTH, 3, PATCH, PATCH)
    writer.add("v.patch_embd.bias", WIDTH)
    writer.add("v.position_embd.weight", (GEMMA_SIDE // PATCH) ** 2, WIDTH)
    writer.norm("v.post_ln")
    writer.blocks("v")
    writer.add("mm.input_projection.weight", WIDTH, width)
    writer.add("mm.soft_emb_norm.weight", WIDTH, scale=1.0)
    writer.close()
    return path


def write_hearing(path: Path, *, width: int = MODEL_WIDTH, seed: int = 0) -> Path:
    """Write a projector of Ultravox's kind, which hears half a minute at a time and sees nothing."""
    writer = Writer(path, seed)
    _add_hearing(writer, width)
    writer.close()
    return path


def write_all(path: Path, *, width: int = MODEL_WIDTH, seed: int = 0) -> Path:
    """Write a projector that sees as Qwen2-VL's does and hears as Ultravox's does."""
    writer = Writer(path, seed)
    _add_qwen(writer, width)
    _add_hearing(writer, width)
    writer.close()
    return path


def _add_hearing(writer: Writer, width: int) -> None:
    writer.describe("audio", "ultravox", width, num_mel_bins=MELS, **{"projector.stack_factor": STACK})
    for name, inputs in (("a.conv1d.1", MELS), ("a.conv1d.2", WIDTH)):
        writer.add(f"{name}.weight", WIDTH, inputs, 3)
        writer.add(f"{name}.bias", WIDTH, 1)
    writer.add("a.position_embd.weight", HEARD, WIDTH)
    writer.norm("a.post_ln")
    writer.blocks("a", key_bias=False)
    writer.add("mm.a.norm_pre.weight", WIDTH * STACK, scale=1.0)
    writer.add("mm.a.mlp.1.weight", 2 * HIDDEN, WIDTH * STACK)
    writer.add("mm.a.norm_mid.weight", HIDDEN, scale=1.0)
    writer.add("mm.a.mlp.2.weight", width, HIDDEN)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
