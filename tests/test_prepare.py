"""Tests the way from a film to a prepared set: the frames of clips and stills, and repeated runs."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
from tiny_film import (
    CONFIG,
    CUTS,
    HEIGHT,
    WIDTH,
    TinyFilm,
    describe_scenes,
    make_tiny_film,
    shared_film,
    write_scenes,
)

import lct_jax.data.encode
import lct_jax.data.fit
import lct_jax.data.prepare
from lct_jax.codecs.patch import PatchCodec
from lct_jax.config import Config
from lct_jax.config.network import put
from lct_jax.data.encode import load_encoder
from lct_jax.data.prepare import prepare_pixels, prepare_scene_file
from lct_jax.data.runner import run_here
from lct_jax.data.scene_file import load_scene_file
from lct_jax.data.sets.records import PreparedSet
from lct_jax.data.sets.validate import find_problems
from lct_jax.data.sources import iter_footage
from lct_jax.encoders.stand_in import StandInEncoder
from lct_jax.errors import InputError
from lct_jax.media.video import read_video


def change(config: Config, **values: object) -> Config:
    """Returns a config whose `prepare` section is changed."""
    return dataclasses.replace(config, prepare=dataclasses.replace(config.prepare, **values))


@pytest.fixture
def film(tmp_path) -> TinyFilm:
    return make_tiny_film(tmp_path)


@pytest.fixture
def given(film) -> Config:
    """Returns the config with the codec of the shared film, so that no codec has to be fitted."""
    codec = film.folder / "given.safetensors"
    codec.write_bytes((shared_film().prepared / "codec.safetensors").read_bytes())
    return change(CONFIG, codec_from=str(codec))


# ---- clips and stills ----------------------------------------------------------------------------


def test_frames_are_resized_and_shots_of_one_split_may_overlap(film):
    write_scenes(film.scenes, {("scenes", 1, "shots", 0, "frames"): [40, 60]})
    annotated, frames = load_scene_file(film.scenes), read_video(film.film).frames
    footage = {
        (part.scene.id, part.shot): part.frames
        for part in iter_footage(annotated, fps=12.0, size=(HEIGHT, WIDTH))
    }
    assert list(footage) == [
        ("quay", 0),
        ("quay", 1),
        ("quay", 2),
        ("road", 0),
        ("road", 1),
        ("end", 0),
    ]
    np.testing.assert_array_equal(footage["quay", 2], frames[33:50])
    np.testing.assert_array_equal(footage["road", 0], frames[40:60])
    np.testing.assert_array_equal(footage["road", 1], frames[60:81])
    small = next(iter_footage(annotated, fps=12.0, size=(16, 24)))
    assert small.frames.shape == (20, 16, 24, 3)


def test_ranges_at_another_rate_are_taken_by_time(film):
    """At twice the film's rate, frames 0 to 20 are the first 10/12 of a second."""
    write_scenes(film.scenes, {("film", "fps"): 24})
    annotated, frames = load_scene_file(film.scenes), read_video(film.film).frames
    footage = list(iter_footage(annotated, fps=12.0, size=(HEIGHT, WIDTH)))
    assert [len(part.frames) for part in footage] == [10, 7, 8, 4, 11, 8]
    np.testing.assert_array_equal(footage[3].frames, frames[26:30])


def test_a_shot_in_which_no_frame_is_shown_is_refused(film):
    """Frame 21 of 24 a second is on screen from 0.875 to 0.917 s, between the frames at 0.854 and 0.938 s."""
    changes = {("film", "fps"): 24, ("scenes", 0, "shots", 1, "frames"): [21, 22]}
    write_scenes(film.scenes, changes)
    annotated = load_scene_file(film.scenes)
    with pytest.raises(InputError) as caught:
        next(iter_footage(annotated, fps=12.0, size=(HEIGHT, WIDTH)))
    assert str(caught.value) == (
        f"{film.film}: scene 'quay': shots[1].frames: found [21, 22] at 24 fps, expected a shot in which a frame"
        " at prepare.fps 12 is shown"
    )


def test_a_scene_without_texts_has_the_empty_global_prompt(film, given):
    nothing = {"characters": [], "environment": "", "story": ""}
    changes = {("scenes", 1, key): value for key, value in nothing.items()}
    changes |= {("scenes", 1, "shots", 0, "prompt"): "Night."}
    write_scenes(film.scenes, changes)
    prepared = film.prepare(given)
    for story in (True, False):
        found = prepared.read_global(1, story=story)
        np.testing.assert_array_equal(found, prepared.empty.astype(np.float16))


def stamp(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


# ---- once, and again when something changed ------------------------------------------------------


def test_a_prepared_set_is_not_made_again(film, given):
    assert prepare_scene_file(film.scenes, film.prepared, given)
    before = stamp(film.prepared)
    os.utime(film.film)  # only the content of a file counts
    assert not prepare_scene_file(film.scenes, film.prepared, given)
    assert stamp(film.prepared) == before
    assert sorted(before) == [
        "card.json",
        "checksums.json",
        "codec.safetensors",
        "empty.safetensors",
        "lengths.safetensors",
        "shards",
        "shards.safetensors",
        "source.json",
    ]


def test_a_changed_scene_file_is_prepared_again(film, given):
    film.prepare(given)
    write_scenes(film.scenes, {("scenes", 0, "shots", 1, "prompt"): "Sun."})
    prepared = film.prepare(given)
    expected = StandInEncoder(16).encode(["[SHOT CUT] Sun."])[0].astype(np.float16)
    np.testing.assert_array_equal(prepared.read_prompt(1), expected)


def test_changed_settings_are_prepared_again(film, given):
    film.prepare(given)
    assert prepare_scene_file(film.scenes, film.prepared, change(given, stills=1))
    wide = put(given, text_width=24)
    assert prepare_scene_file(film.scenes, film.prepared, wide)
    assert PreparedSet(film.prepared).card.text_width == 24


def test_changed_codec_weights_are_prepared_again(film, given):
    first = film.prepare(given).card.codec
    codec = PatchCodec.load(Path(given.prepare.codec_from), channels=8)
    PatchCodec(mean=codec.mean, basis=codec.basis, scale=codec.scale * 2).save(
        Path(given.prepare.codec_from)
    )
    assert film.prepare(given).card.codec != first


def test_a_preparation_that_was_interrupted_is_done_again(film, given, monkeypatch):
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    film.prepare(given)
    changed = change(given, stills=1)
    monkeypatch.setattr(lct_jax.data.prepare, "finish_set", stop)
    with pytest.raises(KeyboardInterrupt):
        prepare_scene_file(film.scenes, film.prepared, changed)
    with pytest.raises(InputError, match="the preparation did not finish"):
        PreparedSet(film.prepared)
    monkeypatch.undo()
    assert prepare_scene_file(film.scenes, film.prepared, changed)
    assert PreparedSet(film.prepared).lengths.shot_still.tolist() == [1] * 6


# ---- frames for the codec ------------------------------------------------------------------------


def test_the_codec_is_fitted_on_all_training_shots_and_no_held_out_frame(film, monkeypatch):
    seen: list[np.ndarray] = []
    codec = PatchCodec.load(shared_film().prepared / "codec.safetensors", channels=8)

    def fit(videos, *, channels):
        seen.extend(videos)
        assert channels == 8
        return codec

    monkeypatch.setattr(lct_jax.data.fit, "fit_patch_codec", fit)
    frames = read_video(film.film).frames
    film.prepare()
    # The five training shots have 4n + 1 frames; the last continues the one before, which has taken a frame of it.
    lengths, starts = (17, 13, 17, 9, 17), (0, 20, 33, 52, 61)
    assert len(seen) == 5
    for video, start, length in zip(seen, starts, lengths, strict=True):
        np.testing.assert_array_equal(video, frames[start : start + length])


def refusal(film: TinyFilm, config: Config) -> str:
    with pytest.raises(InputError) as caught:
        prepare_scene_file(film.scenes, film.prepared, config)
    assert not (film.prepared / "card.json").exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- bad films and texts -------------------------------------------------------------------------


def test_a_cut_past_the_end_of_the_film_is_refused(film, given):
    write_scenes(film.scenes, {("scenes", 2, "shots", 0, "frames"): [81, 101]})
    assert refusal(film, given) == (
        f"{film.film}: scene 'end': shots[0] ends at frame 101, but the film has 100 frames"
    )


def test_a_truncated_film_is_refused(film, given):
    film.film.write_bytes(film.film.read_bytes()[:-2000])
    said = "is cut off, it ends before the end that it declares"
    assert refusal(film, given) == f"{film.film}: {said}"


def test_a_missing_film_is_refused(film, given):
    film.film.unlink()
    assert refusal(film, given) == f"{film.film}: cannot be read, No such file or directory"


def test_codec_weights_of_other_channels_are_refused(film, given):
    found = refusal(film, put(given, channels=4))
    assert found.startswith(f"{given.prepare.codec_from}: tensors differ")


def test_a_text_that_is_too_long_is_named(film, given, monkeypatch):
    class ShortSighted(StandInEncoder):
        def encode(self, texts):
            for text in texts:
                if "leaves" in text:
                    raise InputError(f"texts[0] ({text[:8]!r}...): found 9 tokens, expected 8")
            return super().encode(texts)

    load_encoder.cache_clear()
    monkeypatch.setattr(
        lct_jax.data.encode, "make_encoder", lambda name, *, width, folder: ShortSighted(width)
    )
    try:
        found = refusal(film, given)
    finally:
        load_encoder.cache_clear()
    assert found.startswith("scene 'quay': shots[2]: texts[0] ('[SHOT CU'...): found 9")


def test_a_folder_that_cannot_be_made_is_refused(film, given):
    with pytest.raises(InputError) as caught:
        prepare_scene_file(film.scenes, film.film, given)
    assert str(caught.value) == f"{film.film}: cannot be made a folder (File exists)"


def test_the_scene_file_shown_is_the_one_prepared(film):
    annotated = load_scene_file(film.scenes)
    shots = [shot for scene in describe_scenes()["scenes"] for shot in scene["shots"]]
    assert [tuple(shot["frames"]) for shot in shots] == list(CUTS)
    assert [scene.split for scene in annotated.scenes] == ["train", "train", "held_out"]


# ---- pixels kept, to be encoded later ------------------------------------------------------------


def test_a_set_of_pixels_gives_the_same_records_without_the_film(film, given, monkeypatch):
    direct = film.prepare(given)
    pixels = film.folder / "pixels"
    assert prepare_scene_file(film.scenes, pixels, change(given, records="pixels"))
    frames = read_video(film.film).frames
    kept = PreparedSet(pixels)
    assert list(find_problems(kept)) == []
    np.testing.assert_array_equal(kept.read_shot(1)["clip_0"], frames[20:33])
    with pytest.raises(InputError, match=r"found a set of pixels, expected latents \(lct_jax"):
        kept.check_fits(given.backbone, given.layout)
    film.film.unlink()
    runner = run_here
    assert prepare_pixels(pixels, film.folder / "again", given, runner=runner)
    assert not prepare_pixels(pixels, film.folder / "again", given, runner=runner)
    again = PreparedSet(film.folder / "again")
    assert again.card.codec == direct.card.codec
    for kind in ("shots", "scenes"):
        first, second = (
            next(p.folder.glob(f"shards/*/{kind}.array_record")) for p in (direct, again)
        )
        assert first.read_bytes() == second.read_bytes()
    with pytest.raises(
        InputError, match=r"again: found a set of patch-4x8x8x8.*, expected one of pix"
    ):
        prepare_pixels(film.folder / "again", film.folder / "more", given, runner=runner)
