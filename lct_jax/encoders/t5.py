"""Makes T5 and UMT5 text encoders, from local files in transformers' layout.

A folder holds `config.json`, weights and `tokenizer.json` or `spiece.model`, which may lie in a folder `tokenizer`
beside it, as pipelines are published (`t5_files.py` says under which names). Weights are read tensor by tensor, large
ones in pieces, each is cast to the requested dtype and put in place before the next one is read, so that an encoder of
XXL size is in memory once (benchmarks/encoder_load.py). The table of embeddings stays on the host, layers run one by
one through one compiled program.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from lct_jax.encoders.prompts import SD3, PromptRules
from lct_jax.encoders.protocol import TokenCounter, check_texts
from lct_jax.encoders.t5_files import find_weights, sort_names
from lct_jax.encoders.t5_network import Block, Norm, T5Config, bucket_distances
from lct_jax.encoders.t5_tokenizer import load_tokenizer
from lct_jax.errors import InputError
from lct_jax.tensors import iter_rows, read_config

# Texts are padded to these lengths, so that all share a few programs.
BUCKETS = (32, 64, 128, 256, 512)
_BLOCK = "encoder.block.{}.layer."
# Each pair is a name of a module here and the published one.
_PUBLISHED = {
    "attention_norm": "0.layer_norm.weight",
    "positions": "0.SelfAttention.relative_attention_bias.weight",
    **{name: f"0.SelfAttention.{name}.weight" for name in ("q", "k", "v", "o")},
    "mlp_norm": "1.layer_norm.weight",
    **{name: f"1.DenseReluDense.{name}.weight" for name in ("wi", "wi_0", "wi_1", "wo")},
}


class T5Encoder:
    """Holds a loaded encoder; satisfies `TextEncoder`.

    Args:
        folder: the folder with config and weights. rules: the rules of the base model for its prompts. dtype: the dtype
            of weights and computation. model_type: "t5" or "umt5", which the folder's config must name.

    Raises:
        InputError: a file is missing, damaged or belongs to another model.
    """

    def __init__(
        self,
        folder: Path,
        *,
        rules: PromptRules = SD3,
        dtype: str = "bfloat16",
        model_type: str = "t5",
    ) -> None:
        self.config = _read_config(folder / "config.json", model_type)
        self.width, self._rules = self.config.d_model, rules
        self._tokenize = load_tokenizer(folder, self.config)
        self._weights = _Weights(self.config, folder, dtype)
        made_by = f"{model_type}-{self.config.num_layers}x{self.width}-{dtype}"
        padded = f"-padded{rules.max_tokens}" if rules.pad else ""
        self.identity = f"{made_by}{padded}:sha256:{self._weights.digest[:16]}"

    @classmethod
    def load(cls, folder: Path | None, *, width: int) -> T5Encoder:
        """Returns the encoder of the folder that a config names."""
        # The width is the config's, and the registry compares it.
        del width
        return cls(expect_folder(folder, "t5"))

    @classmethod
    def load_counter(
        cls, folder: Path | None, *, width: int, rules: PromptRules = SD3, model_type: str = "t5"
    ) -> TokenCounter:
        """Returns a counter of the tokens of a cleaned text, padding included, from the tokenizer's file alone."""
        del width
        folder = expect_folder(folder, model_type)
        tokenize = load_tokenizer(folder, _read_config(folder / "config.json", model_type))
        least = rules.max_tokens if rules.pad else 0
        count = lambda text: max(len(tokenize(rules.clean(text))), least)
        return TokenCounter(count, rules.max_tokens)

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Encodes each text to float32 [length, D]; all have max_tokens where the base model sees padding."""
        check_texts(texts)
        return [self._encode_ids(ids) for ids in self.tokenize(texts)]

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Returns cleaned texts as token numbers with the end token; raises InputError if one is too long."""
        numbers = []
        for position, text in enumerate(texts):
            # Texts are tokenized one by one, because a batch starts threads, which a later fork of data workers would
            # break.
            ids = self._tokenize(self._rules.clean(text))
            if len(ids) > self._rules.max_tokens:
                raise InputError(
                    f"texts[{position}] ({text[:40]!r}...): found {len(ids)} tokens, "
                    f"expected at most {self._rules.max_tokens}"
                )
            numbers.append(ids)
        return numbers

    def _encode_ids(self, ids: list[int]) -> np.ndarray:
        rules = self._rules
        lengths = (rules.max_tokens,) if rules.pad else (*BUCKETS, rules.max_tokens)
        length = next(length for length in lengths if length >= len(ids))
        ids_BL = np.zeros((1, length), np.int32)  # 0 is the padding of both models
        ids_BL[0, : len(ids)] = ids
        real_BL = np.ones((1, length), bool) if rules.pad else np.arange(length)[None] < len(ids)
        kept = length if rules.pad else len(ids)
        # The result is copied, because a view would keep the padding in memory.
        return np.asarray(self._weights.apply(ids_BL, real_BL))[0, :kept].astype(np.float32).copy()


ENCODER = T5Encoder


class _Weights:
    """Holds embeddings, layers and the last norm, each where it computes, and a digest of the files that were read."""

    def __init__(self, config: T5Config, folder: Path, dtype: str) -> None:
        self._config = config
        build = lambda i: Block(config, positions=_has_table(config, i), rngs=nnx.Rngs(0))
        parts = [nnx.split(nnx.eval_shape(lambda i=i: build(i))) for i in range(config.num_layers)]
        places = {"shared.weight": (None, (config.vocab_size, config.d_model))}
        places["encoder.final_layer_norm.weight"] = (None, (config.d_model,))
        for layer, (_, state) in enumerate(parts):
            for key, leaf in nnx.to_flat_state(state):
                places[_BLOCK.format(layer) + _PUBLISHED[key[0]]] = ((layer, key), leaf.shape)
        shapes = {
            name: shape[::-1] if place and place[1][-1] == "kernel" else shape
            for name, (place, shape) in places.items()
        }
        digest = hashlib.sha256()
        own: dict[str, np.ndarray] = {}
        filled: list[dict[tuple, Any]] = [{} for _ in parts]
        files = find_weights(folder)
        names = sort_names(files, shapes)
        expected = {names.found.get(name, name): shape for name, shape in shapes.items()}
        ours = {theirs: name for name, theirs in names.found.items()}
        for piece in iter_rows(files, shapes=expected, dropped=names.dropped):
            name, stop = ours[piece.name], piece.start + len(piece.rows)
            if piece.start == 0:
                digest.update(name.encode())
                own[name] = np.empty(shapes[name], dtype)
            digest.update(piece.rows.view(np.uint8))
            own[name][piece.start : stop] = piece.rows
            place, _ = places[name]
            if place and stop == len(own[name]):
                layer, key = place
                tensor = own.pop(name)
                filled[layer][key] = nnx.Param(
                    jnp.asarray(tensor.T if key[-1] == "kernel" else tensor)
                )
        self.digest = digest.hexdigest()
        self._embedding = own["shared.weight"]
        self._norm = Norm(config.d_model, config.layer_norm_epsilon)
        self._norm.weight.set_value(jnp.asarray(own["encoder.final_layer_norm.weight"]))
        states = [nnx.from_flat_state(values.items()) for values in filled]
        self._layers = [(graph, state) for (graph, _), state in zip(parts, states, strict=True)]

    def apply(self, ids_BL: np.ndarray, real_BL: np.ndarray) -> jax.Array:
        """Maps token numbers [B, L] to vectors [B, L, D]; tokens that are False in `real_BL` are not seen."""
        buckets = bucket_distances(ids_BL.shape[1], self._config)
        x = jnp.asarray(self._embedding[ids_BL])
        bias = None
        for graph, state in self._layers:
            if "positions" in state:
                bias = _make_bias(graph, state, buckets, real_BL)
            x = _apply_block(graph, state, x, bias)
        return self._norm(x)


@jax.jit(static_argnums=0)
def _apply_block(graph: nnx.GraphDef, state: nnx.State, x: jax.Array, bias: jax.Array) -> jax.Array:
    with jax.default_matmul_precision("highest"):  # vectors are equal on every machine
        return nnx.merge(graph, state)(x, bias)


@jax.jit(static_argnums=0)
def _make_bias(
    graph: nnx.GraphDef, state: nnx.State, buckets: jax.Array, real: jax.Array
) -> jax.Array:
    return nnx.merge(graph, state).make_bias(buckets, real)


def _has_table(config: T5Config, layer: int) -> bool:
    return layer == 0 or config.model_type == "umt5"


def _read_config(path: Path, model_type: str) -> T5Config:
    values = read_config(path)
    if values.get("model_type") != model_type:
        raise InputError(
            f"{path}: model_type: found {values.get('model_type')!r}, expected {model_type!r}"
        )
    fields = dataclasses.fields(T5Config)
    missing = [f.name for f in fields if f.default is dataclasses.MISSING and f.name not in values]
    if missing:
        raise InputError(f"{path}: missing {', '.join(missing)}")
    config = T5Config(**{f.name: values[f.name] for f in fields if f.name in values})
    if config.feed_forward_proj not in ("gated-gelu", "relu"):
        found = config.feed_forward_proj
        raise InputError(
            f"{path}: feed_forward_proj: found {found!r}, expected 'gated-gelu' or 'relu'"
        )
    return config


def expect_folder(folder: Path | None, kind: str) -> Path:
    """Returns the folder that a config names; raises InputError if it names none."""
    if folder is None:
        raise InputError(
            f"prepare.encoder_from: empty, expected the folder of the {kind} encoder's weights"
        )
    return folder
