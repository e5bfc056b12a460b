"""Tests names of codecs and encoders: existing ones, one that a user adds in one file, and refused ones."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tiny_film
from test_patch_codec import film

import lct_jax.codecs
from lct_jax.codecs.patch import fit_patch_codec
from lct_jax.codecs.protocol import VideoCodec
from lct_jax.codecs.registry import import_codec, load_codec
from lct_jax.config import Config, DualStreamConfig, PrepareConfig
from lct_jax.data.prepare import prepare_scene_file
from lct_jax.data.sources import choose_size
from lct_jax.encoders.registry import make_encoder
from lct_jax.encoders.stand_in import StandInEncoder
from lct_jax.errors import InputError
from lct_jax.media.video import write_video
from lct_jax.tensors import read_metadata, save_tensors

OWN = '''
import numpy as np

from lct_jax.tensors import load_tensors, save_tensors


class Mean:
    """Colour means of 8x8 blocks, frame by frame."""

    stride, channels, identity = (1, 8, 8), 3, "mean"

    def encode(self, video_TXYc):
        t, x, y, c = video_TXYc.shape
        blocks = video_TXYc.reshape(t, x // 8, 8, y // 8, 8, c)
        return blocks.mean(axis=(2, 4)).astype(np.float32) / 127.5 - 1

    def decode(self, latent_TXYC):
        video = np.rint((latent_TXYC + 1) * 127.5).astype(np.uint8)
        return video.repeat(8, axis=1).repeat(8, axis=2)

    def save(self, path):
        save_tensors(path, {"none": np.zeros(1, np.float32)}, {"codec": "my_mean"})

    @classmethod
    def load(cls, path, *, channels):
        load_tensors(path, shapes={"none": (1,)}, dropped={})
        return cls()


CODEC = Mean
'''


def test_a_custom_codec_is_one_file(tmp_path, monkeypatch):
    folder = tmp_path / "more"
    folder.mkdir()
    (folder / "my_mean.py").write_text(OWN)
    monkeypatch.setattr(lct_jax.codecs, "__path__", [*lct_jax.codecs.__path__, str(folder)])
    weights = tmp_path / "weights.safetensors"
    save_tensors(weights, {"none": np.zeros(1, np.float32)})
    codec = import_codec("my_mean", weights, channels=3)
    assert isinstance(codec, VideoCodec)
    codec.save(tmp_path / "saved.safetensors")
    again = load_codec(tmp_path / "saved.safetensors", channels=3)
    assert type(again) is type(codec)
    assert again.encode(np.full((1, 8, 16, 3), 255, np.uint8)).shape == (1, 1, 2, 3)


@pytest.mark.parametrize(
    ("stride", "patch", "size"),
    [
        ((4, 8, 8), (1, 2, 2), (240, 432)),  # 15.02 and 26.7 multiples of 16, rounded
        ((4, 16, 16), (1, 2, 2), (256, 416)),  # 7.51 and 13.4 multiples of 32
        ((1, 8, 24), (1, 1, 2), (240, 432)),  # 30.05 and 8.9 multiples of 8 and 48
    ],
)
def test_frames_get_a_size_that_codec_and_patch_can_divide(
    stride, patch, size, tmp_path, monkeypatch
):
    name = "my_" + "_".join(map(str, stride))  # modules are imported once
    (tmp_path / f"{name}.py").write_text(OWN.replace("(1, 8, 8)", str(stride)))
    monkeypatch.setattr(lct_jax.codecs, "__path__", [*lct_jax.codecs.__path__, str(tmp_path)])
    write_video(tmp_path / "film.mp4", np.zeros((1, 90, 160, 3), np.uint8), fps=12)
    config = Config(
        name="sizes",
        backbone=DualStreamConfig(patch=patch),
        prepare=PrepareConfig(codec=name, height=240, width=428, aspect_error=0.1),
    )
    assert choose_size(tmp_path / "film.mp4", config)[0] == size


def test_the_codec_named_in_the_header_reads_the_file(tmp_path):
    path = tmp_path / "codec.safetensors"
    codec = fit_patch_codec([film(5, 16, 16)], channels=4)
    codec.save(path)
    assert read_metadata(path) == {"codec": "patch"}
    assert load_codec(path, channels=4).identity == codec.identity
    tensors = {"mean": codec.mean, "basis": codec.basis, "scale": codec.scale}
    save_tensors(path, tensors)  # as saved before headers named a codec
    assert load_codec(path, channels=4).identity == codec.identity


@pytest.mark.parametrize("name", ["os", "../patch", "lct_jax.export", "registry", "", "minilm"])
def test_a_header_that_names_no_codec_is_refused(tmp_path, name):
    path = tmp_path / "codec.safetensors"
    save_tensors(path, {"none": np.zeros(1, np.float32)}, {"codec": name})
    with pytest.raises(InputError) as caught:
        load_codec(path, channels=4)
    expected = "expected one of patch, patch_decoder, tiny_vae, wan22_vae, wan_vae"
    assert str(caught.value) == f"{path}: codec: found {name!r}, {expected}"


def test_encoders_by_name():
    assert isinstance(make_encoder("stand_in", width=8), StandInEncoder)
    with pytest.raises(InputError) as caught:
        make_encoder("clip", width=8)
    assert str(caught.value) == (
        "prepare.encoder: found 'clip', expected one of minilm, stand_in, t5, umt5"
    )


def test_the_folder_of_an_encoder_that_was_moved_is_named(tmp_path):
    with pytest.raises(InputError) as caught:
        make_encoder("t5", width=8, folder=str(tmp_path / "moved"))
    assert str(caught.value) == (
        f"prepare.encoder_from: {tmp_path / 'moved'}: no such folder, expected that of the t5 encoder; where a run is "
        "sampled, --encoder=FOLDER names another"
    )


def test_a_codec_that_cannot_be_fitted_needs_weights(tmp_path):
    made = tiny_film.make_tiny_film(tmp_path)
    config = tiny_film.CONFIG
    config = dataclasses.replace(
        config, prepare=dataclasses.replace(config.prepare, codec="wan_vae")
    )
    with pytest.raises(InputError) as caught:
        prepare_scene_file(made.scenes, tmp_path / "set", config)
    assert str(caught.value) == "prepare.codec_from: empty, expected the weights of wan_vae"
