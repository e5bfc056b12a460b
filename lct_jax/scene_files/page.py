"""A scene as one HTML page: every shot plays beside its prompt, and arcs show which shots each one saw.

Videos are in the page itself, so that it is one file, which any browser shows without a network. Letters are those of
the browser, and a text that begins in Arabic or Hebrew runs from the right.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lct_jax.directing.prompts import GlobalPrompt
from lct_jax.media.images import embed_image
from lct_jax.media.storyboard import CastImage, StoryboardRow, describe_numbers
from lct_jax.media.video import embed_video

# Lengths of the drawing of histories, in its own units.
_STEP, _BASE, _RADIUS = 64, 30, 16

_STYLE = """
:root { color-scheme: dark; }
body { background: #141518; color: #c3c1bb; font: 16px/1.5 system-ui, sans-serif; margin: 0 auto;
  max-width: 1080px; overflow-wrap: anywhere; padding: 40px 24px; }
h1 { color: #f1eee7; font-size: 32px; line-height: 1.2; margin: 0 0 20px; }
h2 { color: #f1eee7; font-size: 19px; margin: 44px 0 14px; }
dl { display: grid; gap: 6px 20px; grid-template-columns: fit-content(40%) 1fr; margin: 0; }
dt { color: #e2b36b; }
dd { margin: 0; }
.cast { display: flex; flex-wrap: wrap; gap: 14px; margin-top: 20px; }
.cast figure { margin: 0; max-width: 240px; min-width: 90px; width: min-content; }
.cast img { border-radius: 6px; display: block; height: 110px; max-width: 240px; object-fit: contain; }
.cast figcaption { color: #74bfb4; font-size: 14px; }
video { background: #000; border-radius: 6px; display: block; max-width: 100%; }
.film video { max-height: 480px; }
.history { overflow-x: auto; }
.history path { fill: none; stroke: #74bfb4; stroke-opacity: .55; stroke-width: 1.6; }
.history circle { fill: #24262b; stroke: #e2b36b; stroke-width: 1.5; }
.history .given { stroke: #74bfb4; }
.history text { fill: #f1eee7; font-size: 13px; text-anchor: middle; }
section { border-top: 1px solid #2a2c31; display: grid; gap: 8px 28px; padding: 22px 0;
  grid-template-columns: minmax(0, 5fr) minmax(0, 4fr); }
section .number { color: #f1eee7; font-size: 30px; line-height: 1; margin: 0 0 10px; }
section .prompt { color: #f1eee7; margin: 0 0 10px; }
section .notes, footer { color: #85878d; font-size: 14px; margin: 0; }
section .video video { height: auto; width: 100%; }
footer { border-top: 1px solid #2a2c31; padding-top: 18px; }
a { color: #74bfb4; }
@media (max-width: 640px) { section { grid-template-columns: 1fr; } }
"""


class PageShot(NamedTuple):
    """A shot of the page: its row as on the storyboard, its video as mp4, and the shots that it saw, from 1."""

    row: StoryboardRow
    video: bytes
    saw: tuple[int, ...]


def make_page(
    title: str,
    shots: Sequence[PageShot],
    film: bytes,
    *,
    prompt: GlobalPrompt | None,
    credit: str,
    cast: Sequence[CastImage] = (),
) -> str:
    """Returns the page as HTML text.

    Args:
        title: the headline.
        shots: the shots, in order.
        film: the shots cut together, as mp4.
        prompt: what all shots share.
        credit: the last line.
        cast: given pictures of characters and places.
    """
    escape = html.escape
    parts = [f"<h1>{escape(title)}</h1>", _write_prompt(prompt), *_show_cast(cast)]
    parts += ["<h2>The film</h2>"]
    parts += [f'<div class="film">{_embed(film)}</div>']
    if any(shot.saw for shot in shots):
        parts += ["<h2>Which shots each one saw</h2>", _draw_history(shots)]
    parts += ["<h2>Shots</h2>", *(_write_shot(n, shot) for n, shot in enumerate(shots, start=1))]
    if credit:
        parts.append(f"<footer>{escape(credit)}</footer>")
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n" + "\n".join(parts) + "\n"
    )


def _write_prompt(prompt: GlobalPrompt | None) -> str:
    if prompt is None:
        return ""
    texts: Mapping[str, str] = {
        **{f"Character {name}": text for name, text in prompt.characters.items()},
        "Environment": prompt.environment,
        "Story": prompt.story,
    }
    rows = (
        f'<dt>{html.escape(name)}</dt><dd dir="auto">{html.escape(text)}</dd>'
        for name, text in texts.items()
        if text
    )
    return f"<dl>{''.join(rows)}</dl>"


def _show_cast(cast: Sequence[CastImage]) -> list[str]:
    """Returns the pictures as one part of the page, none where there are none."""
    figures = "".join(
        f'<figure><img src="{embed_image(member.picture)}" alt="">'
        f'<figcaption dir="auto">{html.escape(member.name)}</figcaption></figure>'
        for member in cast
    )
    return [f'<div class="cast">{figures}</div>'] if cast else []


def _write_shot(number: int, shot: PageShot) -> str:
    row, count = shot.row, len(shot.row.frames)
    notes = [row.label, "still image" if count == 1 else f"{count} frames, {count / row.fps:.1f} s"]
    notes += [] if row.cut else ["no cut"]
    notes += [] if row.shown else ["not in the film"]
    notes += [f"saw {describe_numbers(shot.saw)}"] if shot.saw else []
    return (
        f'<section id="shot{number}"><div class="video">{_embed(shot.video)}</div><div>'
        f'<p class="number">{number}</p><p class="prompt" dir="auto">{html.escape(row.prompt)}</p>'
        f'<p class="notes">{html.escape(" · ".join(notes))}</p></div></section>'
    )


def _draw_history(shots: Sequence[PageShot]) -> str:
    """Returns a row of circles, with an arc above it from each shot to every one that it saw."""
    place = lambda number: _BASE + (number - 1) * _STEP
    longest = max(abs(n - other) for n, s in enumerate(shots, start=1) for other in s.saw)
    height = longest * _STEP // 3 + 2 * _BASE
    floor = height - _BASE
    arcs, nodes = [], []
    for number, shot in enumerate(shots, start=1):
        for other in shot.saw:
            low, high = sorted((place(number), place(other)))
            rise = (high - low) * 2 // 3
            arcs.append(
                f'<path d="M{low},{floor - _RADIUS} C{low},{floor - _RADIUS - rise // 2} '
                f'{high},{floor - _RADIUS - rise // 2} {high},{floor - _RADIUS}"/>'
            )
        given = ' class="given"' if shot.row.label == "given" else ""
        nodes.append(
            f'<a href="#shot{number}"><circle{given} cx="{place(number)}" cy="{floor}" r="{_RADIUS}"/>'
            f'<text x="{place(number)}" y="{floor + 5}">{number}</text></a>'
        )
    width = place(len(shots)) + _BASE
    return (
        f'<div class="history"><svg role="img" aria-label="which shots each one saw" width="{width}" '
        f'height="{height}" viewBox="0 0 {width} {height}">{"".join(arcs + nodes)}</svg></div>'
    )


def _embed(video: bytes) -> str:
    return f'<video src="{embed_video(video)}" autoplay controls loop muted playsinline></video>'
