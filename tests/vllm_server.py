"""vLLM's own server on the weights that are named, unpacked for it; run by `real_vllm` in its own environment."""

import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
from vllm.entrypoints.launchers.api_server.entry import main

CONTEXT, SLOTS = 512, 4


def unpack(weights: Path, folder: Path):
    """Write a GGUF's weights and tokenizer as Transformers keeps them, which is what vLLM reads by itself."""
    at = {"pretrained_model_name_or_path": weights.parent, "gguf_file": weights.name}
    AutoTokenizer.from_pretrained(**at).save_pretrained(folder)
    plain = GgufConfig(dequantize=True)
    AutoModelForCausalLM.from_pretrained(**at, dtype=torch.bfloat16, quantization_config=plain).save_pretrained(folder)


if __name__ == "__main__":
    gguf, to, (port, name) = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
    unpack(gguf, to)
    sys.argv[1:] = [
        *("--model", str(to), "--served-model-name", name, "--host", "127.0.0.1", "--port", port),
        *("--max-model-len", str(CONTEXT), "--max-num-seqs", str(SLOTS), "--dtype", "float32", "--enforce-eager"),
        *("--enable-auto-tool-choice", "--tool-call-parser", "hermes"),
    ]
    main()
