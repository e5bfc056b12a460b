"""A plain implementation of the MMDiT: one scene, unpacked, token by token, in float64, with numpy alone.

Nothing of the package is imported. The code follows the LCT paper and those that it cites: where tokens are, what they
see, how time modulates them. Tokens are in reading order, `[text][video] [text][video] ...`, and a query gathers the
keys that it may see instead of masking the others. `weights` are arrays by dotted name; `config` is anything with the
fields of a model config.
"""

from __future__ import annotations

import collections
import functools
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

EPSILON = 1e-6


@dataclass(frozen=True)
class Group:
    """One `[text][video]` group: prompt [L E], clean latent and noise [T X Y c], or None for a global prompt."""

    text: np.ndarray
    clean: np.ndarray | None
    noise: np.ndarray | None
    time: float


@dataclass(frozen=True)
class Token:
    """One token: its stream, value, position, group and time."""

    stream: str
    value: np.ndarray
    coord: tuple[int, int, int]
    group: int
    time: float


def scene_loss(weights: dict[str, np.ndarray], config: Any, groups: list[Group], context: str):
    """Returns the squared velocity error of one scene: mean over a shot's values, then over its shots."""
    shots = [group for group in groups if group.clean is not None]
    velocities = scene_velocity(weights, config, groups, context)
    errors = [
        np.mean((velocity - (shot.noise - shot.clean)) ** 2)
        for velocity, shot in zip(velocities, shots, strict=True)
    ]
    return np.mean(errors)


def scene_velocity(
    weights: dict[str, np.ndarray],
    config: Any,
    groups: list[Group],
    context: str,
    *,
    weigh: Callable[[int, Token, Token, int], float] | None = None,
) -> list[np.ndarray]:
    """Returns the velocity of every shot of a scene, as latents float64 [T X Y c].

    Args:
        weigh: returns the weight of a key, 0 where a query does not see it, from the number of the block, the query,
            and the key with its place in its stream of its group; None weighs those that the context shows by 1.
    """
    weigh = weigh or (lambda _, query, key, place: float(_sees(query, key, config, context)))
    weights = {name: np.asarray(array, np.float64) for name, array in weights.items()}
    tokens = place_tokens(config, groups)
    hidden = [_time_hidden(weights, config, token.time) for token in tokens]
    x = np.stack([_dense(weights, f"{token.stream}_in", token.value) for token in tokens])
    for layer in range(config.backbone.depth):
        block = {
            n.removeprefix("blocks."): w[layer]
            for n, w in weights.items()
            if n.startswith("blocks.")
        }
        time = {n: w for n, w in weights.items() if n.startswith("time.")}
        of_layer = functools.partial(weigh, layer)
        x = _run_block(block | time, config, tokens, hidden, x, of_layer)
    out = []
    for h, time in zip(x, hidden, strict=True):
        shift, scale = np.split(_dense(weights, "time.final", time), 2)
        mean = h.mean() if config.backbone.final_norm == "layer" else 0.0
        normal = (h - mean) / np.sqrt(np.mean((h - mean) ** 2) + EPSILON)
        out.append(_dense(weights, "video_out", normal * (1 + scale) + shift))
    return [
        _join_patches(
            [out[i] for i, t in enumerate(tokens) if t.stream == "video" and t.group == number],
            config.backbone.patch,
            group.clean.shape,
        )
        for number, group in enumerate(groups)
        if group.clean is not None
    ]


def place_tokens(config: Any, groups: list[Group]) -> list[Token]:
    """Returns all tokens of a scene in reading order, on the diagonal."""
    tokens, start = [], 0
    for number, group in enumerate(groups):
        is_global = group.clean is None
        for j, value in enumerate(group.text):
            tokens.append(Token("text", value, (start + j,) * 3, number, group.time))
        origin = start + (config.layout.scene_span if is_global else config.layout.shot_span)
        if is_global:
            dummy = np.zeros(config.backbone.channels * int(np.prod(config.backbone.patch)))
            tokens.append(Token("video", dummy, (origin,) * 3, number, 0.0))
            start = origin + 1
            continue
        noisy = (1 - group.time) * group.clean.astype(float) + group.time * group.noise
        grid = [
            side // size for side, size in zip(noisy.shape[:3], config.backbone.patch, strict=True)
        ]
        for f, h, w in product(*map(range, grid)):
            value = _cut_patch(noisy, (f, h, w), config.backbone.patch)
            coord = (origin + f, origin + h, origin + w)
            tokens.append(Token("video", value, coord, number, group.time))
        start = origin + max(grid)
    return tokens


def _run_block(w, config, tokens: list[Token], hidden, x: np.ndarray, weigh) -> np.ndarray:
    shape = (3, config.backbone.heads, config.backbone.head_dim)
    modulations, queries, keys, values = [], [], [], []
    for token, h, time in zip(tokens, x, hidden, strict=True):
        stream = token.stream
        modulation = _dense(w, f"time.{stream}", time).reshape(6, -1) + w[f"{stream}.table"]
        modulations.append(modulation)
        normal = _layer_norm(h) * (1 + modulation[1]) + modulation[0]
        q, k, v = _dense(w, f"{stream}.qkv", normal).reshape(shape)
        queries.append(_turn(_qk_norm(w, config, f"{stream}.q_norm", q), token.coord, config))
        keys.append(_turn(_qk_norm(w, config, f"{stream}.k_norm", k), token.coord, config))
        values.append(v)
    result, places = [], _count_places(tokens)
    for i, token in enumerate(tokens):
        weights = [weigh(token, key, place) for key, place in zip(tokens, places, strict=True)]
        seen = [j for j, weight in enumerate(weights) if weight]
        mixed = []
        for head in range(config.backbone.heads):
            score = [
                queries[i][head] @ keys[j][head] / np.sqrt(config.backbone.head_dim) for j in seen
            ]
            share = np.exp(np.array(score) - max(score)) * [weights[j] for j in seen]
            share /= share.sum()
            mixed.append(sum(s * values[j][head] for s, j in zip(share, seen, strict=True)))
        _, _, gate, shift, scale, mlp_gate = modulations[i]
        h = x[i] + gate * _dense(w, f"{token.stream}.out", np.concatenate(mixed))
        up = _dense(w, f"{token.stream}.up", _layer_norm(h) * (1 + scale) + shift)
        result.append(h + mlp_gate * _dense(w, f"{token.stream}.down", _gelu(up)))
    return np.stack(result)


def _count_places(tokens: list[Token]) -> list[int]:
    """Returns the place of every token in its stream of its group."""
    found, places = collections.Counter(), []
    for token in tokens:
        places.append(found[token.group, token.stream])
        found[token.group, token.stream] += 1
    return places


def _sees(query: Token, key: Token, config, context: str) -> bool:
    if context == "causal" and key.group > query.group:
        return False
    # With `prompts="own"`, the prompts of other shots are not seen; that of group 0 is seen by all.
    return config.layout.prompts == "all" or key.stream == "video" or key.group in (0, query.group)


def _time_hidden(w, config, time: float) -> np.ndarray:
    half = config.backbone.time_features // 2
    angle = np.array([1000.0 * time / 10_000.0 ** (i / half) for i in range(half)])
    features = np.concatenate([np.cos(angle), np.sin(angle)])
    return _silu(_dense(w, "time.embed_out", _silu(_dense(w, "time.embed_in", features))))


def _qk_norm(w, config, name: str, x_HK: np.ndarray) -> np.ndarray:
    if config.backbone.qk_norm == "none":
        return x_HK
    if config.backbone.qk_norm == "all":
        return x_HK / np.sqrt(np.mean(x_HK**2) + EPSILON) * w[f"{name}.scale"][:, 0]
    heads = [x / np.sqrt(np.mean(x**2) + EPSILON) * w[f"{name}.scale"] for x in x_HK]
    return np.stack(heads)


def _turn(x_HK: np.ndarray, coord: tuple[int, int, int], config) -> np.ndarray:
    """Applies rotary embedding as multiplication of complex numbers, whose parts are K/2 apart."""
    angles = [
        place * config.backbone.rope_base ** (-2 * i / dims)
        for place, dims in zip(coord, config.backbone.rope_split, strict=True)
        for i in range(dims // 2)
    ]
    half = x_HK.shape[1] // 2
    turned = (x_HK[:, :half] + 1j * x_HK[:, half:]) * np.exp(1j * np.array(angles))
    return np.concatenate([turned.real, turned.imag], axis=1)


def _dense(w, name: str, x: np.ndarray) -> np.ndarray:
    return x @ w[f"{name}.kernel"] + w[f"{name}.bias"]


def _layer_norm(x: np.ndarray) -> np.ndarray:
    return (x - x.mean()) / np.sqrt(x.var() + EPSILON)


def _silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


def _gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def _cut_patch(latent: np.ndarray, place: tuple[int, int, int], patch) -> np.ndarray:
    """Returns the patch at a place of the token grid, channels fastest."""
    corner = [p * size for p, size in zip(place, patch, strict=True)]
    inner = product(*map(range, patch))
    return np.concatenate(
        [latent[corner[0] + a, corner[1] + b, corner[2] + d] for a, b, d in inner]
    )


def _join_patches(patches: list[np.ndarray], patch, shape: tuple[int, ...]) -> np.ndarray:
    """Returns the inverse of `_cut_patch` over a whole grid."""
    latent = np.zeros(shape)
    grid = [side // size for side, size in zip(shape[:3], patch, strict=True)]
    for values, place in zip(patches, product(*map(range, grid)), strict=True):
        corner = [p * size for p, size in zip(place, patch, strict=True)]
        pieces = np.split(values, int(np.prod(patch)))
        for piece, (a, b, d) in zip(pieces, product(*map(range, patch)), strict=True):
            latent[corner[0] + a, corner[1] + b, corner[2] + d] = piece
    return latent
