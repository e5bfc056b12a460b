"""Texts encoded by one program and sampled by another, which reads no encoder."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load_file
from test_programs import check_refused, sample, shared_scene
from tiny_film import run_program, shared_run

from lct_jax.encoders.stand_in import StandInEncoder
from lct_jax.encoders.text_file import save_texts

pytestmark = pytest.mark.programs


def test_encoded_texts_give_the_latents_that_the_encoder_gives(tmp_path):
    script, texts = shared_scene() / "script.json", tmp_path / "texts.safetensors"
    flags = (f"--checkpoint={shared_run()}", f"--script={script}", f"--out={texts}")
    result = run_program("-m", "lct_jax.encode_texts", *flags)
    assert result.code == 0, result.stderr
    # Two negative prompts, the global prompt and three shots.
    assert result.stdout == f"{texts}: 6 texts, encoded by stand-in-v1:width-16\n"
    again = sample(tmp_path / "again", script=str(script), texts=str(texts))
    assert again.code == 0, again.stderr
    found, expected = (
        load_file(folder / "latents.safetensors")
        for folder in (tmp_path / "again", shared_scene() / "joint")
    )
    assert found.keys() == expected.keys()
    for name, latent in expected.items():
        np.testing.assert_array_equal(found[name], latent)

    other = sample(tmp_path, "--negative_shot=snow", script=str(script), texts=str(texts))
    check_refused(other, f"{texts}: no tokens of 'snow'", "6 texts")


def test_texts_of_another_encoder_are_refused(tmp_path):
    texts, script = tmp_path / "texts.safetensors", str(shared_scene() / "script.json")
    save_texts(texts, StandInEncoder(8), ["rain"])
    result = sample(tmp_path, script=script, texts=str(texts))
    check_refused(result, f"{texts}: found tokens of stand-in-v1:width-8, 8 wide, expected 16")
    encoder = StandInEncoder(16)
    encoder.identity = "another-v1"
    save_texts(texts, encoder, ["rain"])
    result = sample(tmp_path, script=script, texts=str(texts))
    check_refused(result, f"{texts}: encoded by another-v1, expected stand-in-v1:width-16")
