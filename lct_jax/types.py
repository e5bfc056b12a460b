"""The dimension key and the structs that all rooms share.

One dimension key serves variable suffixes (`q_BHLK`), einsum strings, annotations and sharding alike:

    B  row of a packed batch        S  group slot of a row         C  patch channels (latent x patch)
    L  token (query)                H  attention head              E  text encoder width
    M  key token, cache slot        K  head dimension              F  hidden width of an MLP
    D  model width                  N  layer                       T X Y  latent grid: frames, rows, columns

A *scene* is a list of *groups*, each `[text][video]`. Group 0 is the global prompt, whose video is one dummy token;
groups 1, 2, ... are the shots. A packed row holds several scenes one after another. Networks that read text beside the
video have no group 0: the text of a shot is then the global prompt followed by its own.

The structs are `NamedTuple`s: JAX sees pytrees, numpy code needs no JAX, and fields have names everywhere. Leaves are
numpy arrays on the host and JAX arrays on a device.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

# This is np.ndarray on the host, and jax.Array on a device.
Array = Any

PADDING_SCENE = 0
GLOBAL_SHOT = 0


class TokenIndex(NamedTuple):
    """Where each token is; position, mask, diffusion time and packing all follow from it.

    Attributes:
        scene: int32[B L], scene of the row, counted from 1; 0 marks padding.
        shot: int32[B L], group within the scene; 0 is the global prompt.
        slot: int32[B L], slot of the token's (scene, shot) in the row's tables of per-group values, such as the
            diffusion time `time_BS`; 0 for padding.
        coord: int32[B L 3], (t, h, w) on the diagonal of the interleaved rotary embedding.
    """

    scene: Array
    shot: Array
    slot: Array
    coord: Array


class Tokens(NamedTuple):
    """Token values and where the tokens are.

    Attributes:
        value: float[B L C] for video (patches of latents) or float[B L E] for text (encoder outputs).
        index: the `TokenIndex` of the same B and L.
    """

    value: Array
    index: TokenIndex


class PackedBatch(NamedTuple):
    """Clean video and text; the training step draws diffusion time and noise for it.

    Attributes:
        video: Tokens of all shots of a row, dummies of global prompts included.
        text: Tokens of all prompts of a row.
        condition: float[B L C'], channels that networks of some families take beside the noisy ones of each video
            token, such as a first frame; None for networks that take none.
    """

    video: Tokens
    text: Tokens
    condition: Array | None = None


class Quantised(NamedTuple):
    """Numbers stored as int8; they stand for `value` times `scale`.

    Attributes:
        value: int8[... M K].
        scale: float32[... M 1], one for every token and head.
    """

    value: Array
    scale: Array


class Visibility(NamedTuple):
    """Which groups see which, where that is no rule of a context: tables over groups, blocks and tokens.

    A group sees itself, and group 0 sees all groups and is seen by all, as with full context. Of another shot a video
    token sees video tokens alone: in blocks that ask, those that are shown, with a bias on their scores.

    Attributes:
        bias_GG: float32, what is added to the scores of keys of group [1] for queries of group [0], counted as `shot`
            is; log(w) weighs keys by w, and -inf hides them.
        asks_N: bool, the blocks in which a shot sees others.
        shown_BL: bool, the video tokens that other shots see; either axis may be 1.
    """

    bias_GG: Array
    asks_N: Array
    shown_BL: Array


class KVCache(NamedTuple):
    """Keys and values of finished groups, of text and video; a slot holds one token.

    Attributes:
        k, v: [N B H M K] in the model's dtype, or `Quantised`; keys before rotation. A row is of the prompts or of the
            negative prompts.
        index: int32 `TokenIndex` of [B M] on the host, scene 0 where a slot is free. `shot` is the entry: 0 for the
            global prompt, then shots from 1 in the order of the script. `coord` is the token's coordinate when its keys
            were made.
    """

    k: Array | Quantised
    v: Array | Quantised
    index: TokenIndex


class History(NamedTuple):
    """The cached tokens that a shot sees, gathered from a cache and rotated once, when the shot begins.

    Attributes:
        k, v: [N B H M K] or `Quantised`; keys rotated to their positions in the shot's window.
        count: int32[B], keys in use; those behind them are neither read nor computed.
    """

    k: Array | Quantised
    v: Array | Quantised
    count: Array


class KeyValues(NamedTuple):
    """Keys and values of the tokens of one pass, which are written into a cache.

    Attributes:
        k, v: [N B H L K] of text tokens, then video tokens, or of video tokens alone where text stands beside them;
            keys are normalised and not yet rotated.
    """

    k: Array
    v: Array


class Prediction(NamedTuple):
    """The output of a network for a batch.

    Attributes:
        velocity: float32[B L C] of the video tokens; values of padding and dummy tokens have no meaning.
        kept: keys and values of the pass, None where they were not requested.
    """

    velocity: Array
    kept: KeyValues | None


class CacheSpec(NamedTuple):
    """What a cache of keys and values needs to know of a network.

    Attributes:
        layers: N, attention layers that are cached.
        heads: H.
        head_dim: K.
        dtype: the dtype of keys and values.
        rope_split, rope_base: the rotary embedding by which keys are rotated when they are gathered.
        keeps_text: whether other shots see the prompt of a shot, so that it is cached with the shot.
    """

    layers: int
    heads: int
    head_dim: int
    dtype: str
    rope_split: tuple[int, int, int]
    rope_base: float
    keeps_text: bool


class BackboneSpec(NamedTuple):
    """What data and sampling need to know of a network.

    Attributes:
        channels: channels of a latent.
        patch: the latent (T, X, Y) that becomes one token.
        text_width: E.
        cache: what a cache needs to know of it.
        text: where the text of a shot stands: "joint", in one sequence with the video, or "beside" it, read by the
            video of its shot alone.
    """

    channels: int
    patch: tuple[int, int, int]
    text_width: int
    cache: CacheSpec
    text: Literal["joint", "beside"] = "joint"

    @property
    def patch_channels(self) -> int:
        """C, the latent channels times the latent positions of a patch."""
        return self.channels * self.patch[0] * self.patch[1] * self.patch[2]
