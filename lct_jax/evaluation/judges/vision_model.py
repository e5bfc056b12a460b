"""A vision-language model behind a chat endpoint as a judge: it sees a frame of every shot and the script.

The endpoint is that of captions: `LCT_CHAT_URL`, `LCT_CHAT_MODEL` and `LCT_CHAT_KEY` in the environment. Answers are
kept in the folder of the results, so that the same command asks nothing twice. A model's scores are opinions: compare
rows of one table, judged by one model, and not tables.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lct_jax.chat import Chat, Message, RefusedAnswer, endpoint_from_environment, show_image
from lct_jax.chat.errors import ChatError
from lct_jax.directing.prompts import render_global, render_shot
from lct_jax.errors import InputError
from lct_jax.evaluation.samples import Cases, SampledShots

INSTRUCTION = """\
You judge a film scene that a program made from a script. You see the script and one frame of every shot, in order.
Reply with one JSON object and nothing else: {"characters": 3, "place": 4, "text": [2, 5]}
- characters: do the people and animals look the same wherever they return? 1 (others every time) to 5 (the same);
  null where nobody is seen twice.
- place: are place, light and style those of one scene? 1 (another every time) to 5 (the same).
- text: for every shot in order, does the frame show what its prompt says? 1 (nothing of it) to 5 (all of it).
"""
_BEST = 5


class VisionModel:
    """A `Judge`: "judged characters", "judged place" and "judged text", each from 1 to 5."""

    def __init__(self, chat: Chat) -> None:
        self._chat, self.title = chat, f"{chat.endpoint.model} as a judge"

    @classmethod
    def load(cls, folder: Path) -> VisionModel:
        """Returns the judge behind the endpoint of the environment; raises InputError where that is not set."""
        return cls(Chat(endpoint_from_environment(), folder / "answers"))

    def judge(self, shots: SampledShots) -> Cases:
        """Returns the scores of a scene, none where the model's answers cannot be used.

        Raises:
            InputError: the endpoint does not answer.
        """
        count = len(shots.frames)
        try:
            return self._chat.ask(write_messages(shots), lambda value: read_scores(value, count))
        except RefusedAnswer:
            return {}
        except ChatError as error:
            raise InputError(f"--judges=vision_model: {error}") from None


JUDGE = VisionModel


def write_messages(shots: SampledShots) -> list[Message]:
    """Returns the messages that show a scene: the script, and the middle frame of every shot behind its prompt."""
    prompt = shots.script.prompt
    parts: list[Any] = [{"type": "text", "text": render_global(prompt) if prompt else "A scene."}]
    for number, (shot, frames) in enumerate(zip(shots.script.shots, shots.frames, strict=True)):
        parts.append({"type": "text", "text": f"Shot {number + 1}: {render_shot(shot)}"})
        parts.append(show_image(frames[len(frames) // 2]))
    return [{"role": "system", "content": INSTRUCTION}, {"role": "user", "content": parts}]


def read_scores(value: Any, count: int) -> Cases:
    """Returns the scores in an answer on so many shots; raises InputError with what is wrong with it."""
    if not isinstance(value, dict):
        raise InputError("it is no object")
    text = value.get("text")
    if not isinstance(text, list) or len(text) != count:
        raise InputError(f"text: expected {count} scores, one a shot")
    characters = value.get("characters")
    return {
        "judged characters": [] if characters is None else [_read("characters", characters)],
        "judged place": [_read("place", value.get("place"))],
        "judged text": [_read("text", score) for score in text],
    }


def _read(name: str, score: Any) -> float:
    if type(score) not in (int, float) or not 1 <= score <= _BEST:
        raise InputError(f"{name}: found {score!r}, expected a number from 1 to {_BEST}")
    return float(score)
