"""CLIP as image features, and as a measure of how well a shot shows its prompt.

The networks are those of Radford et al. 2021 (arXiv 2103.00020): two transformers, of patches and of text, whose unit
vectors are compared. They are read from `WEIGHTS/clip` as their publishers lay them out for transformers
(`config.json`, `model.safetensors`, `tokenizer.json`), of any size; VBench's background consistency uses ViT-B/32.
Pictures are brought to the network's size as a whole, without the usual crop, so that wide shots are seen to their
borders; texts are cut at 77 tokens as the publishers do.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tokenizers import Tokenizer

from lct_jax.errors import InputError
from lct_jax.evaluation.features.protocol import embed_in_batches, resize_bicubic
from lct_jax.tensors import load_tensors, read_config

FOLDER = "clip"
BATCH = 8
# Mean and deviation of the pictures that it was trained on, in 0..1.
_MEAN, _SPREAD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_EPSILON = 1e-5
_DROPPED = {
    "logit_scale": "scales cosines in training",
    "text_model.embeddings.position_ids": "counts from 0",
    "vision_model.embeddings.position_ids": "counts from 0",
}

Tensors = Mapping[str, np.ndarray]


class Size(NamedTuple):
    """Holds the sizes of one of the two transformers; `hidden` is the width of its MLPs."""

    width: int
    layers: int
    heads: int
    hidden: int


class Sizes(NamedTuple):
    """Holds the sizes of both: `side` and `patch` in pixels, `tokens` a text, `words` of the vocabulary."""

    vision: Size
    text: Size
    side: int
    patch: int
    tokens: int
    words: int
    joint: int


class Clip:
    """Both networks with their weights, an `ImageFeatures`."""

    def __init__(self, sizes: Sizes, tensors: Tensors, tokenizer: Tokenizer) -> None:
        self.title = f"CLIP ViT-{sizes.vision.layers}/{sizes.patch}"
        self._sizes, self._tokenizer = sizes, tokenizer
        self._see = jax.jit(functools.partial(see_pictures, sizes, tensors))
        self._read = jax.jit(functools.partial(read_tokens, sizes, tensors))

    @classmethod
    def load(cls, folder: Path) -> Clip:
        """Returns the networks in `folder/clip`; raises InputError where they are not there or are others."""
        place = folder / FOLDER
        if not place.is_dir():
            raise InputError(
                f"CLIP: {place}: no such folder, expected config.json, model.safetensors and tokenizer.json of a"
                " published CLIP (--weights)"
            )
        sizes = read_sizes(place / "config.json")
        tensors = load_tensors(
            place / "model.safetensors", shapes=published_shapes(sizes), dropped=_DROPPED
        )
        try:
            tokenizer = Tokenizer.from_file(str(place / "tokenizer.json"))
        except Exception as error:  # the library raises plain Exception
            raise InputError(f"{place / 'tokenizer.json'}: cannot be read ({error})") from None
        return cls(sizes, tensors, tokenizer)

    def embed(self, frames: np.ndarray) -> np.ndarray:
        """Maps uint8 RGB [N, X, Y, 3] to float32 [N, D]."""
        side = self._sizes.side
        return embed_in_batches(self._see, resize_bicubic(frames, side, side), size=BATCH)

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Maps texts to float32 [N, D], to be compared with those of pictures."""
        rows = [self._tokenizer.encode(text).ids for text in texts]
        count = self._sizes.tokens
        # A text that is too long keeps its end token, at which it is read.
        cut = [row if len(row) <= count else [*row[: count - 1], row[-1]] for row in rows]
        ids, ends = np.zeros((len(cut), count), np.int32), [len(row) - 1 for row in cut]
        for place, row in enumerate(cut):
            ids[place, : len(row)] = row
        return np.asarray(self._read(ids, np.array(ends)), np.float32)


FEATURES = Clip


def read_sizes(path: Path) -> Sizes:
    """Returns the sizes in a published config; raises InputError where one is missing or the activation is another."""
    config = read_config(path)
    try:
        vision, text = config["vision_config"], config["text_config"]
        sizes = Sizes(
            *(_read_size(part) for part in (vision, text)),
            side=vision["image_size"],
            patch=vision["patch_size"],
            tokens=text["max_position_embeddings"],
            words=text["vocab_size"],
            joint=config["projection_dim"],
        )
        acts = {part.get("hidden_act", "quick_gelu") for part in (vision, text)}
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: found no {error}, expected the config of a CLIP") from None
    if acts != {"quick_gelu"}:
        raise InputError(f"{path}: hidden_act: found {sorted(acts)}, expected 'quick_gelu'")
    return sizes


def published_shapes(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    """Returns names and shapes of the published tensors."""
    vision, text = sizes.vision, sizes.text
    places = (sizes.side // sizes.patch) ** 2 + 1
    shapes: dict[str, tuple[int, ...]] = {
        "vision_model.embeddings.class_embedding": (vision.width,),
        "vision_model.embeddings.patch_embedding.weight": (vision.width, 3, sizes.patch, sizes.patch),
        "vision_model.embeddings.position_embedding.weight": (places, vision.width),
        "text_model.embeddings.token_embedding.weight": (sizes.words, text.width),
        "text_model.embeddings.position_embedding.weight": (sizes.tokens, text.width),
        "visual_projection.weight": (sizes.joint, vision.width),
        "text_projection.weight": (sizes.joint, text.width),
    }  # fmt: skip
    norms = {"vision_model.pre_layrnorm": vision.width, "vision_model.post_layernorm": vision.width}
    norms["text_model.final_layer_norm"] = text.width
    for model, size in (("vision_model", vision), ("text_model", text)):
        for layer in range(size.layers):
            name = f"{model}.encoder.layers.{layer}"
            norms |= {f"{name}.layer_norm{number}": size.width for number in (1, 2)}
            linear = {
                f"self_attn.{p}_proj": (size.width, size.width) for p in ("q", "k", "v", "out")
            }
            linear |= {"mlp.fc1": (size.hidden, size.width), "mlp.fc2": (size.width, size.hidden)}
            for part, shape in linear.items():
                shapes |= {f"{name}.{part}.weight": shape, f"{name}.{part}.bias": shape[:1]}
    for name, width in norms.items():
        shapes |= {f"{name}.weight": (width,), f"{name}.bias": (width,)}
    return shapes


def see_pictures(sizes: Sizes, tensors: Tensors, pictures: jax.Array) -> jax.Array:
    """Maps uint8 pictures [B, side, side, 3] to float32 [B, D]."""
    mean, spread = (jnp.asarray(x).reshape(1, 1, 1, 3) for x in (_MEAN, _SPREAD))
    x = (pictures.astype(jnp.float32) / 255 - mean) / spread
    kernel = tensors["vision_model.embeddings.patch_embedding.weight"].transpose(2, 3, 1, 0)
    numbers = ("NHWC", "HWIO", "NHWC")
    stride = (sizes.patch, sizes.patch)
    x = jax.lax.conv_general_dilated(x, kernel, stride, "VALID", dimension_numbers=numbers)
    x = x.reshape(len(x), -1, sizes.vision.width)
    first = jnp.asarray(tensors["vision_model.embeddings.class_embedding"])
    x = jnp.concatenate([jnp.broadcast_to(first, (len(x), 1, len(first))), x], axis=1)
    x = x + tensors["vision_model.embeddings.position_embedding.weight"][None]
    x = _norm(tensors, "vision_model.pre_layrnorm", x)
    x = _transform(sizes.vision, tensors, "vision_model", x, causal=False)
    return (
        _norm(tensors, "vision_model.post_layernorm", x[:, 0])
        @ tensors["visual_projection.weight"].T
    )


def read_tokens(sizes: Sizes, tensors: Tensors, ids: jax.Array, ends: jax.Array) -> jax.Array:
    """Maps token numbers [B, tokens], of which the last of each text is at `ends` [B], to float32 [B, D]."""
    x = jnp.asarray(tensors["text_model.embeddings.token_embedding.weight"])[ids]
    x = x + tensors["text_model.embeddings.position_embedding.weight"][None]
    x = _transform(sizes.text, tensors, "text_model", x, causal=True)
    x = _norm(tensors, "text_model.final_layer_norm", x)
    return x[jnp.arange(len(x)), ends] @ tensors["text_projection.weight"].T


def _transform(
    size: Size, tensors: Tensors, model: str, x: jax.Array, *, causal: bool
) -> jax.Array:
    for layer in range(size.layers):
        name = f"{model}.encoder.layers.{layer}"
        normed = _norm(tensors, f"{name}.layer_norm1", x)
        q, k, v = (
            _linear(tensors, f"{name}.self_attn.{part}_proj", normed).reshape(
                *x.shape[:2], size.heads, -1
            )
            for part in ("q", "k", "v")
        )
        seen = jax.nn.dot_product_attention(q, k, v, is_causal=causal).reshape(x.shape)
        x = x + _linear(tensors, f"{name}.self_attn.out_proj", seen)
        hidden = _linear(tensors, f"{name}.mlp.fc1", _norm(tensors, f"{name}.layer_norm2", x))
        # The "quick GELU" of the published networks.
        x = x + _linear(tensors, f"{name}.mlp.fc2", hidden * jax.nn.sigmoid(1.702 * hidden))
    return x


def _linear(tensors: Tensors, name: str, x: jax.Array) -> jax.Array:
    bias = jnp.asarray(tensors[f"{name}.bias"])
    return x @ tensors[f"{name}.weight"].T + bias.reshape((1,) * (x.ndim - 1) + (-1,))


def _norm(tensors: Tensors, name: str, x: jax.Array) -> jax.Array:
    scale, shift = (
        jnp.asarray(tensors[f"{name}.{part}"]).reshape((1,) * (x.ndim - 1) + (-1,))
        for part in ("weight", "bias")
    )
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = jnp.square(centred).mean(axis=-1, keepdims=True)
    return centred / jnp.sqrt(variance + _EPSILON) * scale + shift


def _read_size(part: Mapping[str, Any]) -> Size:
    return Size(
        part["hidden_size"],
        part["num_hidden_layers"],
        part["num_attention_heads"],
        part["intermediate_size"],
    )
