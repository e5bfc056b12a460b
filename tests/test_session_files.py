"""What a session writes, from which the same is sampled again, and pictures of its cast that it reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from directed import MODES, TEXTS, both, changed, check_same, latents_of, make_session, sample
from PIL import Image
from safetensors.numpy import load_file
from tiny_generator import make_generator

from lct_jax.directing.prompts import Condition
from lct_jax.directing.script import load_script
from lct_jax.errors import InputError
from lct_jax.retake import reproduce
from lct_jax.scene_files.record import LATENTS, MANIFEST


def reproduce_saved(mode: str, folder: Path) -> dict[int, np.ndarray]:
    """Returns the latents of a saved session as `sample.py --manifest` samples them."""
    again = folder / "again"
    reproduce(make_generator(MODES[mode]), folder / MANIFEST, again)
    saved = load_file(again / "latents.safetensors")
    return {int(name.removeprefix("shot_")) - 1: latent for name, latent in saved.items()}


@pytest.mark.slow
@both
def test_a_kept_shot_stays_and_is_given_in_the_saved_script(mode, tmp_path):
    session = make_session(mode, TEXTS[:3])
    session.redo(2)
    before = latents_of(session)
    session.keep(2)
    session.edit(1, "Rain falls.")
    assert changed(session, before) == {1, 3}
    paths = session.save(tmp_path)
    script = load_script(tmp_path / "script.yaml")
    assert {"scene.mp4", "storyboard.png", "index.html"} <= {path.name for path in paths}
    assert script.shots[1].given == Condition(
        str(tmp_path / "kept.safetensors"), time=0.2, tensor="shot_02"
    )
    kept = {n: latent for n, latent in latents_of(session).items() if n != 1}
    check_same(kept, sample(script))
    assert [path.name for path in paths[-3:]] == ["kept.safetensors", "script.yaml", MANIFEST]
    again = reproduce_saved(mode, tmp_path)
    check_same({n: again[n] for n in kept}, kept)
    np.testing.assert_array_equal(again[1], latents_of(session)[1])  # given, and so in the film
    with pytest.raises(InputError, match="shot 2: is kept"):
        session.redo(2)


@both
def test_a_session_goes_on_from_a_script(mode, tmp_path):
    make_session(mode, TEXTS[:2], seed=4).save(tmp_path)
    saved = tmp_path / "script.yaml"
    session = make_generator(MODES[mode]).session(saved)
    session.shot(TEXTS[2])
    assert session.script.sampler == {"mode": mode, "seed": 4}
    check_same(latents_of(session), sample(session.script))


@both
def test_a_saved_folder_has_a_manifest_of_the_last_save_alone(mode, tmp_path):
    session = make_session(mode, TEXTS[:3], seed=4)
    session.redo(2)
    session.save(tmp_path)
    session.undo()
    session.undo()
    session.save(tmp_path)
    assert sorted(path.name for path in (tmp_path / LATENTS).iterdir()) == [
        "shot_01.safetensors",
        "shot_02.safetensors",
    ]
    check_same(reproduce_saved(mode, tmp_path), latents_of(session))
    # The script in the folder is that of the manifest, so that `sample.py` goes on and has nothing to sample.
    steps: list[None] = []
    scene = make_generator(MODES[mode]).sample(
        load_script(tmp_path / "script.yaml"), on_step=lambda: steps.append(None)
    )
    scene.save(tmp_path)
    assert steps == []
    session.keep(1)
    session.keep(2)
    session.save(tmp_path)  # nothing is left to sample
    assert not (tmp_path / MANIFEST).exists()


@pytest.mark.slow
@both
def test_pictures_of_the_cast_are_seen_by_shots_that_name_them(mode, tmp_path):
    for name, colour in (("red", (200, 30, 30)), ("blue", (30, 30, 200))):
        Image.new("RGB", (48, 32), colour).save(tmp_path / f"{name}.png")
    session = make_session(mode)
    session.describe(characters={"1": "A man.", "2": "A woman."})
    session.picture("2", tmp_path / "blue.png")
    made = [session.shot(f"Character {number} waves.") for number in (1, 2, 1)]
    assert [shot.number for shot in made] == [0, 1, 2]
    assert [shot.history for shot in session.script.shots] == [(), (1,), (1, 2)]
    before = latents_of(session)
    check_same(before, sample(session.script))
    # Pictures of 1 come before those of 2; shot 2 names nobody else, and sees shot 1.
    made = session.picture("1", tmp_path / "red.png", time=0.5)
    assert [shot.number for shot in made] == [0, 1, 2]
    assert [picture.owner for picture in session.script.pictures] == ["1", "2"]
    session.shot("Nobody is there.")
    after = latents_of(session)
    session.redo(4)
    check_same({n: latents_of(session)[n] for n in range(3)}, {n: after[n] for n in range(3)})
    session.save(tmp_path / "out")
    check_same(reproduce_saved(mode, tmp_path / "out"), latents_of(session))
    session.undo()
    session.undo()
    session.undo()
    check_same(latents_of(session), before)
    session.shot("Character 2 leaves.")
    check_same(latents_of(session), sample(session.script))
    with pytest.raises(
        InputError, match="found character '3', expected one of those described: 1, 2"
    ):
        session.picture("3", tmp_path / "red.png")
