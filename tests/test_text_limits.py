"""Tests that texts over their span remove their shot or their story, never the film, and are reported."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from tiny_film import CONFIG, make_tiny_film, write_scenes

from lct_jax.config.network import change, sections
from lct_jax.data.footage.captions import Caption
from lct_jax.data.footage.text_limits import find_too_long, load_limits, open_fitting
from lct_jax.data.prepare import prepare, prepare_videos
from lct_jax.data.runner import run_here
from lct_jax.data.sets.records import PreparedSet
from lct_jax.directing.prompts import GlobalPrompt
from lct_jax.encoders.registry import load_counter, make_encoder
from lct_jax.errors import InputError

# Two of the words are the marks of begin and end, and "[SHOT CUT]" is 4 tokens.
LONG = "word " * 40


@pytest.fixture
def film(tmp_path):
    return make_tiny_film(tmp_path)


def read_texts(source) -> list[tuple[str, str, list[str]]]:
    return [(s.name, s.full, [shot.text for shot in s.shots]) for s in source.scenes()]


def test_a_shot_over_its_span_is_left_out_and_the_next_one_begins_with_a_cut(film):
    write_scenes(
        film.scenes,
        {
            ("scenes", 0, "shots", 1, "prompt"): LONG,
            ("scenes", 0, "shots", 2, "cut"): False,
        },
    )
    lines = [str(item) for item in find_too_long(film.scenes, CONFIG)]
    assert lines == [
        "scene 'quay': shots[1]: found 46 tokens, expected at most 32 (layout.shot_span): left out"
    ]
    name, _, shots = read_texts(open_fitting(film.scenes, CONFIG))[0]
    assert (name, shots) == (
        "quay",
        [
            "[SHOT CUT] Character 1 waits.",
            "[SHOT CUT] Character 1 leaves, and the dog stays.",
        ],
    )


def test_a_story_over_the_span_is_left_out_and_a_scene_only_where_that_is_not_enough(film):
    write_scenes(
        film.scenes,
        {
            ("scenes", 0, "story"): "word " * 60,
            ("scenes", 1, "environment"): "word " * 70,
        },
    )
    found = find_too_long(film.scenes, CONFIG)
    assert [(x.scene, x.shot, x.lost, x.found, x.expected) for x in found] == [
        ("quay", None, 0, 81, 64),
        ("road", None, 2, 89, 64),
    ]
    assert str(found[0]).endswith("(layout.scene_span): its story left out")
    scenes = read_texts(open_fitting(film.scenes, CONFIG))
    assert [(name, len(shots)) for name, _, shots in scenes] == [("quay", 3), ("end", 1)]
    assert "word" not in scenes[0][1]


def test_the_tag_counts_towards_the_length_of_a_text(film):
    """Without the tag the second shot has 30 tokens."""
    write_scenes(
        film.scenes,
        {
            ("scenes", 0, "shots", 0, "prompt"): LONG,
            ("scenes", 0, "shots", 1, "prompt"): "word " * 28,
            ("scenes", 0, "shots", 1, "cut"): False,
        },
    )
    found = find_too_long(film.scenes, CONFIG)
    assert [(x.shot, x.found) for x in found] == [(0, 46), (1, 34)]


def test_the_shard_is_made_again_when_the_span_is_raised(film):
    write_scenes(film.scenes, {("scenes", 0, "shots", 1, "prompt"): LONG})
    codec = film.folder / "set" / "codec.safetensors"
    assert prepare([("film", film.scenes)], film.prepared, CONFIG, runner=run_here) == [None]
    assert len(PreparedSet(film.prepared).shot_names) == 5
    given = dataclasses.replace(CONFIG.prepare, codec_from=str(codec))
    wide = dataclasses.replace(
        CONFIG, prepare=given, **sections(change(CONFIG.network, shot_span=46))
    )
    assert prepare([("film", film.scenes)], film.prepared, wide, runner=run_here) == [None]
    assert len(PreparedSet(film.prepared).shot_names) == 6
    # The content is that of a film without limits.
    assert open_fitting(film.scenes, wide).content[1]["film"]["title"] == "Tiny"


def test_a_film_without_any_fitting_text_is_refused(film):
    write_scenes(film.scenes, {("scenes", n, "environment"): "word " * 70 for n in range(3)})
    with pytest.raises(InputError, match=r"no scene is left: scene 'quay': global prompt: found"):
        list(open_fitting(film.scenes, CONFIG).scenes())


def test_the_report_of_a_folder_says_what_was_left_out(film, tmp_path):
    write_scenes(film.scenes, {("scenes", 0, "shots", 1, "prompt"): LONG})
    film.scenes.rename(film.folder / "film.scenes.json")
    film.config.unlink()
    report = prepare_videos(film.folder, tmp_path / "set", CONFIG, runner=run_here)
    (row,) = report.rows
    assert (row.outcome, row.shots) == ("prepared", {"text too long": 1})
    line = (
        "scene 'quay': shots[1]: found 46 tokens, expected at most 32 (layout.shot_span): left out"
    )
    assert line in report.show()
    saved = json.loads((tmp_path / "set" / "report.json").read_text())["inputs"]
    assert saved[0]["too_long"] == [line]


def test_captions_over_the_limits_are_refused():
    limits = load_limits(CONFIG)
    limits.check_caption(Caption(GlobalPrompt({"1": "A dog."}, "A yard.", ""), ("word " * 26,)))
    with pytest.raises(
        InputError, match=r"answer: shots\[1\]: found 33 tokens, expected at most 32"
    ):
        limits.check_caption(Caption(None, ("word", "word " * 27)))
    with pytest.raises(
        InputError, match="answer: characters, environment and story together: found"
    ):
        limits.check_caption(Caption(GlobalPrompt({}, "word " * 70, ""), ()))


def test_the_encoder_sets_the_limit_where_it_takes_less_than_the_span():
    prepare_by = dataclasses.replace(CONFIG.prepare, encoder="minilm")
    model = change(CONFIG.network, text_width=384, shot_span=600, scene_span=512)
    limits = load_limits(dataclasses.replace(CONFIG, prepare=prepare_by, **sections(model)))
    assert (limits.shot, limits.shot_by) == (512, "the encoder minilm")
    assert (limits.scene, limits.scene_by) == (512, "the encoder minilm")


@pytest.mark.parametrize(("name", "width"), [("stand_in", 8), ("minilm", 384)])
@pytest.mark.parametrize("text", ["", "One, two.", "[SHOT CUT] Café\u2028am Meer", "word " * 90])
def test_counters_agree_with_encoders(name, width, text):
    encoder = make_encoder(name, width=width)
    counter = load_counter(name, width=width)
    assert counter.count(text) == len(encoder.encode([text])[0])


def test_an_encoder_without_a_counter_is_counted_by_its_vectors(monkeypatch):
    from lct_jax.encoders.stand_in import StandInEncoder

    monkeypatch.delattr(StandInEncoder, "load_counter")
    assert load_counter("stand_in", width=8).count("One, two.") == 6


def test_limits_apply_when_a_set_of_pixels_is_encoded(film, tmp_path):
    write_scenes(film.scenes, {("scenes", 0, "shots", 1, "prompt"): LONG})
    pixels = dataclasses.replace(
        CONFIG, prepare=dataclasses.replace(CONFIG.prepare, records="pixels")
    )
    prepare([("film", film.scenes)], tmp_path / "pixels", pixels, runner=run_here)
    assert len(PreparedSet(tmp_path / "pixels").shot_names) == 6
    (shard,) = Path(tmp_path / "pixels" / "shards").iterdir()
    found = find_too_long(shard, CONFIG)
    assert [(x.scene, x.shot, x.found) for x in found] == [("quay", 1, 46)]
    texts = [shot for _, _, shots in read_texts(open_fitting(shard, CONFIG)) for shot in shots]
    assert len(texts) == 5
