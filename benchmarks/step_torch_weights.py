"""Loads this project's weights into the PyTorch model of `step_torch.py`: transposes kernels, reorders rotated
pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file
from torch import nn

from lct_jax.config import NetworkConfig

SIMPLE = ("video_in", "text_in", "video_out")
TIME = {
    "embed_in": "embed_in",
    "embed_out": "embed_out",
    "video": "time_video",
    "text": "time_text",
    "final": "final",
}


def load_weights(model: nn.Module, path: Path, config: NetworkConfig) -> None:
    """Copies every parameter, and raises an error where one of either side is left."""
    found = load_file(path)
    weights = {n.removeprefix("params."): w for n, w in found.items() if n.startswith("params.")}
    state = {}
    for ours, theirs in [*((n, n) for n in SIMPLE), *((f"time.{n}", t) for n, t in TIME.items())]:
        state |= _linear(weights, ours, theirs)
    for layer in range(config.backbone.depth):
        block = {n: w[layer] for n, w in weights.items() if n.startswith("blocks.")}
        state |= _block(block, f"blocks.{layer}", config)
    state = {name: torch.from_numpy(np.ascontiguousarray(w)) for name, w in state.items()}
    # These are the same tensors again.
    shared = {name for name in model.state_dict() if ".shared." in name}
    missing, unexpected = model.load_state_dict(state, strict=False)
    if set(missing) != shared or unexpected:
        raise ValueError(f"weights do not match: {set(missing) ^ shared}, {unexpected}")
    count = sum(p.numel() for p in model.parameters())
    expected = sum(w.size for w in weights.values())
    if count != expected:
        raise ValueError(f"found {count} parameters, expected {expected}")


def _block(weights: dict[str, np.ndarray], to: str, config: NetworkConfig) -> dict[str, np.ndarray]:
    state = {}
    # The order is 0, K/2, 1, K/2 + 1 and so on.
    pairs = np.arange(config.backbone.head_dim).reshape(2, -1).T.reshape(-1)
    names = {
        "text": (("add_q_proj", "add_k_proj", "add_v_proj"), "to_add_out", "added_", "_context"),
        "video": (("to_q", "to_k", "to_v"), "to_out.0", "", ""),
    }
    for stream, (projections, out, added, context) in names.items():
        ours = f"blocks.{stream}"
        kernel, bias = weights[f"{ours}.qkv.kernel"], weights[f"{ours}.qkv.bias"]
        kernel = kernel.reshape(len(kernel), 3, config.backbone.heads, config.backbone.head_dim)
        bias = bias.reshape(kernel.shape[1:])
        for part, name in enumerate(projections):
            order = slice(None) if name.endswith(("v", "v_proj")) else pairs
            state[f"{to}.attn.{name}.weight"] = (
                kernel[:, part][..., order].reshape(len(kernel), -1).T
            )
            state[f"{to}.attn.{name}.bias"] = bias[part][:, order].reshape(-1)
        for norm in "qk":
            scale = weights[f"{ours}.{norm}_norm.scale"]
            state[f"{to}.attn.norm_{added}{norm}.weight"] = scale[pairs]
        state |= _linear(weights, f"{ours}.out", f"{to}.attn.{out}")
        state |= _linear(weights, f"{ours}.up", f"{to}.ff{context}.net.0.proj")
        state |= _linear(weights, f"{ours}.down", f"{to}.ff{context}.net.2")
        state[f"{to}.norm1{context}.linear.table"] = weights[f"{ours}.table"].reshape(-1)
    return state


def _linear(weights: dict[str, np.ndarray], ours: str, theirs: str) -> dict[str, np.ndarray]:
    return {
        f"{theirs}.weight": weights[f"{ours}.kernel"].T,
        f"{theirs}.bias": weights[f"{ours}.bias"],
    }
