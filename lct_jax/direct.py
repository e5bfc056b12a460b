"""Has a language model write the script of a scene from an idea.

    python -m lct_jax.direct "two strangers share tea" --shots=9 --out=FILE.yaml [--images=A.png,B.png] [--stream]

The endpoint is any that is compatible with OpenAI's: LCT_CHAT_URL, LCT_CHAT_MODEL and LCT_CHAT_KEY in the environment
name it, as for captions. An answer that breaks a rule of scripts is asked for again with the complaint. `--checkpoint`
names the weights that will sample the script, so that no text is longer than they take. `--images` are shown to the
model, which must see: it describes them in the global prompt, and they become given shots at the start of the script.

The script is written to `--out`, the answer of the model as it came beside it (`FILE.answer.txt`), and what a video
model may do badly with the script is said on the screen.
"""

from __future__ import annotations

import sys
import typing
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import flags

from lct_jax.chat import Chat, ChatError, Piece, endpoint_from_environment
from lct_jax.cli import define_path, run
from lct_jax.config import ChatConfig
from lct_jax.config.fields import build
from lct_jax.data.footage.captions import Caption
from lct_jax.data.footage.text_limits import load_limits
from lct_jax.directing.director import CheckLength, write_script
from lct_jax.directing.remarks import review_script
from lct_jax.directing.save_script import save_script
from lct_jax.errors import InputError
from lct_jax.files import replace_atomically
from lct_jax.media.images import read_moments
from lct_jax.paths import local_path
from lct_jax.training.checkpoint.start import TrainedWeights

# The longer side of images as they are shown to a vision model, in pixels.
LONGEST_SIDE = 1024

OUT = define_path("out", "Script to write: .yaml, .yml or .json.", required=True)
SHOTS = flags.DEFINE_integer("shots", 9, "Number of shots to write.", lower_bound=1)
IMAGES = flags.DEFINE_list("images", [], "Images that the scene is to agree with.")
CHECKPOINT = define_path("checkpoint", "Run folder or weights whose longest texts are kept to.")
STREAM = flags.DEFINE_bool("stream", False, "Show the answer on stderr as it grows.")
DEFINE = {int: flags.DEFINE_integer, float: flags.DEFINE_float}
# The endpoint chooses its own temperature, so that an idea may become another script the next time.
SETTINGS = {
    name: DEFINE[hint](f"chat.{name}", None, f"chat.{name}: see lct_jax/config/chat.py")
    if hint in DEFINE
    else flags.DEFINE_enum(f"chat.{name}", None, typing.get_args(hint), f"chat.{name}")
    for name, hint in typing.get_type_hints(ChatConfig).items()
}


def main(argv: Sequence[str]) -> None:
    _, idea = argv
    if not idea.strip():
        raise InputError("the idea is empty, expected what the scene is about")
    out = Path(OUT.value)
    if out.suffix not in (".yaml", ".yml", ".json"):
        raise InputError(f"--out: found {out.name!r}, expected a name in .yaml, .yml or .json")
    settings = {name: flag.value for name, flag in SETTINGS.items() if flag.value is not None}
    config = build(ChatConfig, {"temperature": -1.0, **settings}, path="chat")
    chat = Chat(endpoint_from_environment(), None, config)
    raw = out.with_name(f"{out.name}.answer.txt")
    try:
        script = write_script(
            chat,
            idea,
            shots=SHOTS.value,
            images={path: read_picture(local_path(path, "--images")) for path in IMAGES.value},
            check_length=None if CHECKPOINT.value is None else _find_limits(CHECKPOINT.value),
            on_answer=lambda text: _write(raw, text),
            on_piece=Echo().show if STREAM.value else None,
        )
    except ChatError as error:
        kept = f" (the last answer is in {raw})" if raw.exists() else ""
        raise InputError(f"{error}{kept}") from None
    save_script(out, script)
    for remark in review_script(script):
        print(f"{out}: {remark}", file=sys.stderr)
    usage = chat.usage
    print(f"{out}: {usage.requests} requests, {usage.completion_tokens} tokens written")


class Echo:
    """Shows an answer on stderr as it grows; one that is asked for again begins on a line of its own."""

    def __init__(self) -> None:
        self._attempt = 1

    def show(self, piece: Piece) -> None:
        """Shows a piece."""
        if piece.attempt != self._attempt:
            self._attempt = piece.attempt
            print(file=sys.stderr)
        print(piece.text, end="", file=sys.stderr, flush=True)


def read_picture(path: str) -> np.ndarray:
    """Returns an image, uint8 RGB [X, Y, 3], as large as a vision model needs; raises InputError where it is none."""
    frame = read_moments(path, 1.0, longest=1)[0]
    scale = LONGEST_SIDE / max(frame.shape[:2])
    if scale >= 1:
        return frame
    # OpenCV is loaded where there is a picture alone.
    import cv2

    size = tuple(max(1, round(side * scale)) for side in frame.shape[1::-1])
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA)


def _find_limits(checkpoint: str) -> CheckLength:
    limits = load_limits(TrainedWeights(checkpoint).meta.config)
    return lambda prompt, texts: limits.check_caption(Caption(prompt, tuple(texts)))


def _write(path: Path, text: str) -> None:
    with replace_atomically(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    run(main, operand="an idea")
