"""Shows the measures of all rows: as Markdown, as JSON and as a page with the sampled scenes beside them."""

from __future__ import annotations

import dataclasses
import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lct_jax.evaluation.agreement import ABOVE, GAPS, name_gap
from lct_jax.evaluation.bootstrap import Estimate, estimate_difference
from lct_jax.evaluation.measure_row import FRECHET, Instruments
from lct_jax.evaluation.reference import measure_bias
from lct_jax.evaluation.rows import FILMED, ROWS
from lct_jax.evaluation.samples import SeenShots
from lct_jax.files import replace_atomically

Results = Mapping[str, Mapping[str, Estimate]]


@dataclass(frozen=True)
class Theme:
    """A table: measures that are read together, and how to read them."""

    title: str
    measures: tuple[str, ...]
    text: str


THEMES = (
    Theme(
        "Agreement and diversity",
        (
            "shot consistency",
            "cross-shot consistency",
            "copied shots",
            "without copies",
            "between scenes",
            ABOVE,
            "across seeds",
        ),
        "Cosines of image features: of the frames of a shot, and of pairs of shots of a scene "
        "with a cut between. Shots also agree where they are one picture: `copied shots` is the "
        "share of such pairs, `without copies` the agreement of the others. `between scenes` is "
        "how alike shots of different scenes are, `above other scenes` how much more those of one "
        "scene are, `across seeds` one shot with other noise; a model that always draws the same "
        "has 1, 0 and 1 there.",
    ),
    Theme(
        "Cuts",
        (
            "cuts right",
            "cuts inside shots",
            "transition deviation",
            "false transitions",
        ),
        "`cuts right`: the share of boundaries with a cut where the script has one and none where "
        "it has none, by the detector of `prepare`; `cuts inside shots`: how many more it finds a "
        "shot. By TransNetV2: frames from a scripted cut to the nearest transition (12 where "
        "there is none), and transitions a scene where none should be.",
    ),
    Theme(
        "Prompts",
        (
            "top-1",
            "top-5",
            "rank",
            FRECHET,
        ),
        "Whether a sampled shot resembles the filmed shot of its own prompt more than the other "
        "filmed shots, and the Frechet distance of all frames' features.",
    ),
    Theme(
        "Motion",
        (
            "motion",
            "flicker",
        ),
        "Optical flow from a frame to the next in percent of the picture's diagonal; grey levels "
        "by which pixels differ from the mean of the frames before and after.",
    ),
    Theme(
        "Since last seen",
        (*(name_gap(*gap) for gap in GAPS),),
        "The cosine of a shot with the last one that shows the same character or place, by how "
        "long ago that was.",
    ),
    Theme(
        "LPIPS",
        (
            "LPIPS in a shot",
            "LPIPS across shots",
        ),
        "Distances, so less is more alike: of neighbouring frames of a shot, and of the middle "
        "frames of pairs of shots.",
    ),
)
OTHERS = "Judges"
# Every row but the film's own, less that of shots that do not see each other.
FLOOR = ROWS["independent"].title
BESIDE = Theme(
    f"Less {FLOOR}",
    (
        "cross-shot consistency",
        ABOVE,
        "without copies",
        "LPIPS across shots",
        "rank",
        "motion",
    ),
    "What a way to sample has more than shots that do not see each other: scene by scene, so that "
    "what is easy or hard about a scene cancels out. An interval without 0 is a difference.",
)
NOT_PORTED = "VBench's aesthetic and imaging quality, whose networks are not ported"


def to_markdown(results: Results, notes: Sequence[str]) -> str:
    """Returns the tables with 95% intervals, a row for each way to sample, and the notes; without empty columns."""
    blocks = []
    for theme, rows in _list_tables(results):
        names = _find_columns(theme, rows)
        lines = [f"| {theme.title} | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
        for title, row in rows.items():
            lines.append(f"| {title} | {' | '.join(_show(row, name) for name in names)} |")
        blocks.append("\n".join([*lines, "", theme.text] if theme.text else lines))
    return "\n\n".join([*blocks, "\n".join(f"- {note}" for note in notes)]).rstrip() + "\n"


def describe_notes(
    instruments: Instruments, filmed: Mapping[str, SeenShots], *, scenes: int, seeds: int
) -> list[str]:
    """Returns what must be known to read the tables: counts, features, the bias of the Frechet distance, what is not
    there."""
    notes = [
        f"{scenes} scenes, {seeds} seed{'s' if seeds > 1 else ''} each; means with 95% intervals of a bootstrap over"
        " scenes.",
        f"Image features: {instruments.features.title}.",
        *(f"Judge: {judge.title}." for judge in instruments.judges),
    ]
    shots = sum(len(seen.units) for seen in filmed.values())
    bias = measure_bias(filmed)
    if shots:
        notes.append(
            f"Retrieval is among {shots} filmed shots: guessing gives a top-1 of {1 / shots:.2f}, a top-5 of"
            f" {min(5 / shots, 1):.2f} and a rank of {(shots + 1) / 2:.1f}."
        )
    if bias is not None:
        notes.append(
            "The Frechet distance is far above zero at small counts, whatever is compared: between two random halves of"
            f" the filmed shots it is {bias:.2f}. Only rows of one table may be compared."
        )
    return notes + [f"Not measured: {line}." for line in (*instruments.missing, NOT_PORTED)]


def write_report(
    folder: Path,
    results: Results,
    notes: Sequence[str],
    *,
    boards: Mapping[str, Mapping[str, str]],
    made: Mapping[str, Mapping[str, object]],
) -> str:
    """Writes `table.md`, `results.json` and `index.html`; returns the table.

    Args:
        boards: for each scene the storyboards of its rows by title, as paths relative to the folder.
        made: for each row by title what its samples depend on, weights among it, as JSON.
    """
    table = to_markdown(results, notes)
    values = {
        "made": {title: dict(row) for title, row in made.items()},
        "rows": _to_plain(results),
        "less independent": _to_plain(compare_with_floor(results)),
        "notes": list(notes),
    }
    for name, text in (
        ("table.md", table),
        ("results.json", json.dumps(values, indent=1) + "\n"),
        ("index.html", to_page(results, notes, boards=boards)),
    ):
        with replace_atomically(folder / name) as unfinished:
            unfinished.write_text(text, encoding="utf-8")
    return table


def to_page(
    results: Results, notes: Sequence[str], *, boards: Mapping[str, Mapping[str, str]]
) -> str:
    """Returns one static page: the tables, then every scene with the storyboards of all rows side by side."""
    parts = []
    for theme, table in _list_tables(results):
        names = _find_columns(theme, table)
        head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
        rows = "".join(
            f"<tr><th>{html.escape(title)}</th>"
            + "".join(f"<td>{_mark_interval(_show(row, name))}</td>" for name in names)
            + "</tr>"
            for title, row in table.items()
        )
        text = html.escape(theme.text.replace("`", ""))
        parts.append(
            f'<h2>{theme.title}</h2><div class="table"><table><tr><th></th>{head}</tr>{rows}</table></div>'
            f"<p>{text}</p>"
        )
    listed = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
    parts.append(f"<ul>{listed}</ul>")
    for scene, of_rows in boards.items():
        figures = "".join(
            f'<figure><a href="{html.escape(path)}"><img src="{html.escape(path)}" alt="" loading="lazy"></a>'
            f"<figcaption>{html.escape(title)}</figcaption></figure>"
            for title, path in of_rows.items()
        )
        parts.append(f'<h2>{html.escape(scene)}</h2><div class="row">{figures}</div>')
    return _PAGE.format(body="\n".join(parts))


def compare_with_floor(results: Results) -> Results:
    """Returns what the rows have more than that of shots that do not see each other; empty without that row."""
    floor = results.get(FLOOR)
    if floor is None:
        return {}
    return {
        title: {
            name: difference
            for name in BESIDE.measures
            if name in row and name in floor
            if (difference := estimate_difference(row[name], floor[name])) is not None
        }
        for title, row in results.items()
        if title not in (FLOOR, FILMED)
    }


def _to_plain(results: Results) -> dict[str, dict[str, object]]:
    return {
        title: {name: dataclasses.asdict(estimate) for name, estimate in row.items()}
        for title, row in results.items()
    }


def _list_tables(results: Results) -> list[tuple[Theme, Results]]:
    known = {name for theme in THEMES for name in theme.measures}
    others = dict.fromkeys(name for row in results.values() for name in row if name not in known)
    themes = [*THEMES, Theme(OTHERS, tuple(others), "")]
    tables = [(theme, results) for theme in themes]
    tables.insert(1, (BESIDE, compare_with_floor(results)))
    return [(theme, rows) for theme, rows in tables if _find_columns(theme, rows)]


def _find_columns(theme: Theme, results: Results) -> list[str]:
    return [
        name
        for name in theme.measures
        if any(name in row and row[name].count for row in results.values())
    ]


def _show(row: Mapping[str, Estimate], name: str) -> str:
    return row[name].show() if name in row else "-"


def _mark_interval(cell: str) -> str:
    """Returns a cell as HTML, with its interval less prominent than its mean."""
    mean, bracket, interval = cell.partition(" (")
    return f"{mean} <small>({interval}</small>" if bracket else mean


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Evaluation</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; color: #222; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }}
th, td {{ padding: .3rem .8rem; text-align: left; border-bottom: 1px solid #ddd; font-weight: normal; }}
th, td {{ white-space: nowrap; }}
tr:first-child th, small {{ color: #666; }}
.table {{ overflow-x: auto; }}
p, li {{ max-width: 45rem; color: #444; overflow-wrap: anywhere; }}
.row {{ display: flex; flex-wrap: wrap; gap: 1rem; }}
figure {{ margin: 0; flex: 1 1 20rem; }}
img {{ width: 100%; }}
figcaption {{ color: #666; }}
</style>
<h1>Evaluation</h1>
{body}
</html>
"""
