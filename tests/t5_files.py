"""A random T5 encoder with a tokenizer of eight words, in transformers' layout, for tests."""

from __future__ import annotations

import json

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

WORDS = ["<pad>", "</s>", "<unk>", "a", "dog", "in", "the", "rain"]
SIZES = {
    "vocab_size": 8,
    "d_model": 16,
    "d_kv": 4,
    "d_ff": 24,
    "num_layers": 2,
    "num_heads": 2,
    "feed_forward_proj": "gated-gelu",
}


def draw_tensors(model_type: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = {"shared.weight": (8, 16), "encoder.final_layer_norm.weight": (16,)}
    for layer in range(2):
        block = f"encoder.block.{layer}.layer."
        shapes |= {f"{block}{part}.layer_norm.weight": (16,) for part in (0, 1)}
        shapes |= {f"{block}0.SelfAttention.{name}.weight": (8, 16) for name in "qkv"}
        shapes[f"{block}0.SelfAttention.o.weight"] = (16, 8)
        shapes |= {f"{block}1.DenseReluDense.wi_{i}.weight": (24, 16) for i in (0, 1)}
        shapes[f"{block}1.DenseReluDense.wo.weight"] = (16, 24)
        if layer == 0 or model_type == "umt5":
            shapes[f"{block}0.SelfAttention.relative_attention_bias.weight"] = (32, 2)
    return {name: rng.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}


def write_folder(folder, model_type="umt5"):
    """Writes a random encoder with a tokenizer of eight words, in transformers' layout."""
    words = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    words.enable_padding(length=9)  # published files pad and cut
    words.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps({"model_type": model_type, **SIZES}))
    save_file(draw_tensors(model_type), folder / "model.safetensors")
    return folder
