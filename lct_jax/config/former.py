"""Reads configs and flags in their former shape, when `model` held what three sections hold now.

Checkpoints, exported weights and commands of that shape are read: every field has its new name here and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_BACKBONE = (
    *("width", "depth", "heads", "head_dim", "channels", "patch", "text_width", "mlp_ratio"),
    *("rope_split", "rope_base", "qk_norm", "final_norm", "time_features"),
)
NEW_NAMES = {
    **{f"model.{name}": f"backbone.{name}" for name in _BACKBONE},
    **{f"model.{name}": f"compute.{name}" for name in ("dtype", "kernel", "remat")},
    **{
        f"model.{name}": f"layout.{name}"
        for name in ("scene_span", "shot_span", "positions", "prompts")
    },
    "model.group_stride": "layout.stride",
    "training.seq_shards": "compute.seq_shards",
}
_FLAG = re.compile(r"(--?config\.)([\w.]+)(=.*)?", re.DOTALL)


def translate(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns nested values of a config with fields of a former name moved to where they stand now."""
    moved = {section: dict(v) if isinstance(v, Mapping) else v for section, v in values.items()}
    for former, name in NEW_NAMES.items():
        (old_section, old_field), (section, field) = former.split("."), name.split(".")
        if isinstance(moved.get(old_section), dict) and old_field in moved[old_section]:
            moved.setdefault(section, {})[field] = moved[old_section].pop(old_field)
    if moved.get("model") == {}:
        del moved["model"]
    return moved


def translate_flag(argument: str) -> tuple[str, str]:
    """Returns a command-line argument with the present name of its field, and a line that says so ("" if nothing
    changed)."""
    edit = _FLAG.fullmatch(argument)
    if edit is None or edit[2] not in NEW_NAMES:
        return argument, ""
    name = NEW_NAMES[edit[2]]
    return f"{edit[1]}{name}{edit[3] or ''}", f"{edit[1]}{edit[2]} is now {edit[1]}{name}"
