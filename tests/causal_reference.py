"""A plain implementation of causal windows, in which all entries pass through the layers side by side.

It extends `reference.py` (float64, numpy, nothing of the package). All entries move up one layer at a time. A query
token sees the tokens of the global prompt, of the entries before it in its entry's window, and of its own entry, at the
positions that they have in that window.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from reference import (
    Group,
    Token,
    _dense,
    _gelu,
    _layer_norm,
    _qk_norm,
    _time_hidden,
    _turn,
    place_tokens,
)

GLOBAL = -1


def window_velocities(
    weights: dict[str, np.ndarray],
    config: Any,
    windows: Sequence[tuple[int, ...]],
    held: dict[int, tuple[np.ndarray, float]],
    *,
    grids: Sequence[tuple[int, int, int]],
    prompts: Sequence[np.ndarray],
    global_prompt: np.ndarray,
) -> np.ndarray:
    """Returns the velocity [L C] of the last shot of the last window.

    Args:
        windows: the shots of each window; the last window is the one to compute.
        held: noisy patches [L C] and time of every shot.
        grids, prompts: those of every shot.
    """
    weights = {name: np.asarray(array, np.float64) for name, array in weights.items()}
    windows = {GLOBAL: ()} | {window[-1]: window for window in windows}
    seen = {e: _lay_out(config, w, held, grids, prompts, global_prompt) for e, w in windows.items()}
    own = {e: seen[e][e] for e in windows}
    x = {
        e: np.stack([_dense(weights, f"{t.stream}_in", t.value) for t in tokens])
        for e, tokens in own.items()
    }
    hidden = {e: [_time_hidden(weights, config, t.time) for t in own[e]] for e in windows}
    for layer in range(config.backbone.depth):
        block = {
            n.removeprefix("blocks."): w[layer]
            for n, w in weights.items()
            if n.startswith("blocks.")
        } | {n: w for n, w in weights.items() if n.startswith("time.")}
        x = _run_layer(block, config, seen, hidden, x)
    last = list(windows)[-1]
    out = []
    for token, h, time in zip(own[last], x[last], hidden[last], strict=True):
        if token.stream == "video":
            shift, scale = np.split(_dense(weights, "time.final", time), 2)
            out.append(_dense(weights, "video_out", _layer_norm(h) * (1 + scale) + shift))
    return np.stack(out)


def _lay_out(config, window, held, grids, prompts, global_prompt) -> dict[int, list[Token]]:
    """Returns the tokens of every entry in a window, with their positions in it; values are unprojected patches."""
    groups = [Group(global_prompt, None, None, 0.0)]
    for shot in window:
        latent = np.zeros(
            (*np.multiply(grids[shot], config.backbone.patch), config.backbone.channels)
        )
        groups.append(Group(prompts[shot], latent, latent, held[shot][1]))
    tokens = place_tokens(config, groups)
    found = {}
    for number, entry in enumerate((GLOBAL, *window)):
        found[entry] = [token for token in tokens if token.group == number]
        if entry != GLOBAL:
            video = iter(held[entry][0].astype(np.float64))
            found[entry] = [
                t if t.stream == "text" else Token("video", next(video), t.coord, t.group, t.time)
                for t in found[entry]
            ]
    return found


def _run_layer(w, config, seen, hidden, x) -> dict[int, np.ndarray]:
    shape = (3, config.backbone.heads, config.backbone.head_dim)
    made = {}
    for entry in seen:
        made[entry] = []
        for token, h, time in zip(seen[entry][entry], x[entry], hidden[entry], strict=True):
            m = _dense(w, f"time.{token.stream}", time).reshape(6, -1) + w[f"{token.stream}.table"]
            normal = _layer_norm(h) * (1 + m[1]) + m[0]
            q, k, v = _dense(w, f"{token.stream}.qkv", normal).reshape(shape)
            q = _qk_norm(w, config, f"{token.stream}.q_norm", q)
            made[entry].append((m, q, _qk_norm(w, config, f"{token.stream}.k_norm", k), v))
    after = {}
    for entry, placed in seen.items():
        keys, values = [], []
        for other, tokens in placed.items():
            hides_text = config.layout.prompts == "own" and other not in (GLOBAL, entry)
            for token, (_, _, k, v) in zip(tokens, made[other], strict=True):
                if hides_text and token.stream == "text":
                    continue
                keys.append(_turn(k, token.coord, config))
                values.append(v)
        rows = []
        for token, h, (m, q, _, _) in zip(placed[entry], x[entry], made[entry], strict=True):
            q = _turn(q, token.coord, config)
            score = np.einsum("HK,MHK->HM", q, np.stack(keys)) / np.sqrt(config.backbone.head_dim)
            share = np.exp(score - score.max(1, keepdims=True))
            share /= share.sum(1, keepdims=True)
            mixed = np.einsum("HM,MHK->HK", share, np.stack(values)).reshape(-1)
            h = h + m[2] * _dense(w, f"{token.stream}.out", mixed)
            up = _dense(w, f"{token.stream}.up", _layer_norm(h) * (1 + m[4]) + m[3])
            rows.append(h + m[5] * _dense(w, f"{token.stream}.down", _gelu(up)))
        after[entry] = np.stack(rows)
    return after
