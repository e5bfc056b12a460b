"""Names of Wan's parameters in diffusers' layout, and which rule turns the axes of each.

diffusers' `norm2` is the norm before cross-attention; Wan's own files call it `norm3`. Only queries and keys of
self-attention are rotated, so only these are permuted (`published.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lct_jax.backbones.protocol import PublishedName
from lct_jax.config import NetworkConfig

# Ours to diffusers', and the rule for a layer's kernel.
_TOP = {
    "video_in": ("patch_embedding", "patch"),
    "text_in": ("condition_embedder.text_embedder.linear_1", "kernel"),
    "text_out": ("condition_embedder.text_embedder.linear_2", "kernel"),
    "time.embed_in": ("condition_embedder.time_embedder.linear_1", "kernel"),
    "time.embed_out": ("condition_embedder.time_embedder.linear_2", "kernel"),
    "time.project": ("condition_embedder.time_proj", "kernel"),
    "video_out": ("proj_out", "kernel"),
}
# The layers of diffusers' layout in the original files, whose names most LoRAs for other programs have.
ORIGINAL = {
    **{f"attn1.to_{layer}": f"self_attn.{layer}" for layer in "qkv"},
    **{f"attn2.to_{layer}": f"cross_attn.{layer}" for layer in "qkv"},
    "attn1.to_out.0": "self_attn.o",
    "attn2.to_out.0": "cross_attn.o",
    "ffn.net.0.proj": "ffn.0",
    "ffn.net.2": "ffn.2",
    "condition_embedder.text_embedder.linear_1": "text_embedding.0",
    "condition_embedder.text_embedder.linear_2": "text_embedding.2",
    "condition_embedder.time_embedder.linear_1": "time_embedding.0",
    "condition_embedder.time_embedder.linear_2": "time_embedding.2",
    "condition_embedder.time_proj": "time_projection.1",
    "proj_out": "head.head",
}
_RATE = {"rate_in": "fps_projection.net.0.proj", "rate_out": "fps_projection.net.2"}
_ATTENTION = {"q": "to_q", "k": "to_k", "v": "to_v", "o": "to_out.0"}
_MLP = {"up": "ffn.net.0.proj", "down": "ffn.net.2"}


def decays(path: tuple[str, ...]) -> bool:
    """Returns whether weight decay applies to a parameter: it does to kernels outside the time embedding.

    Biases, norm scales and modulation are exempt, as in the other families [D].
    """
    return "kernel" in path and "time" not in path


def name_weights(config: NetworkConfig) -> Mapping[str, PublishedName]:
    """Returns the published name of every parameter; "{}" stands for the number of the block."""
    return dict([*_name_all(), *(_name_rates() if config.backbone.fps else ())])


def _name_all() -> Iterator[tuple[str, PublishedName]]:
    for ours, (theirs, rule) in _TOP.items():
        yield from _name_layer(ours, theirs, rule=rule)
    yield "table", PublishedName("scale_shift_table", "table")
    for part, theirs, rotated in (("attention", "attn1", True), ("cross", "attn2", False)):
        ours, theirs = f"blocks.{part}", f"blocks.{{}}.{theirs}"
        for layer, name in _ATTENTION.items():
            turned = rotated and layer in ("q", "k")
            yield from _name_layer(
                f"{ours}.{layer}",
                f"{theirs}.{name}",
                rule="rotary_kernel" if turned else "kernel",
                bias="rotary" if turned else "same",
            )
        for layer in ("q", "k"):
            rule = "rotary_norm" if rotated else "norm"
            yield f"{ours}.{layer}_norm.scale", PublishedName(f"{theirs}.norm_{layer}.weight", rule)
    yield "blocks.cross_norm.scale", PublishedName("blocks.{}.norm2.weight")
    yield "blocks.cross_norm.bias", PublishedName("blocks.{}.norm2.bias")
    for ours, theirs in _MLP.items():
        yield from _name_layer(f"blocks.{ours}", f"blocks.{{}}.{theirs}")
    yield "blocks.table", PublishedName("blocks.{}.scale_shift_table", "table")


def _name_rates() -> Iterator[tuple[str, PublishedName]]:
    yield "time.rates", PublishedName("fps_embedding.weight")
    for ours, theirs in _RATE.items():
        yield from _name_layer(f"time.{ours}", theirs)


def _name_layer(
    ours: str, theirs: str, *, rule: str = "kernel", bias: str = "same"
) -> Iterator[tuple[str, PublishedName]]:
    yield f"{ours}.kernel", PublishedName(f"{theirs}.weight", rule)
    yield f"{ours}.bias", PublishedName(f"{theirs}.bias", bias)
