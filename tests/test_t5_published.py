"""T5 encoders in the layouts in which they are published."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import save_file
from t5_files import draw_tensors, write_folder

from lct_jax.encoders.t5 import T5Encoder
from lct_jax.errors import InputError


def write_as(folder, tensors, name="model.safetensors"):
    """Returns the folder of `write_folder` with other tensors in a file of another name."""
    write_folder(folder, "t5")
    (folder / "model.safetensors").unlink()
    save_file(tensors, folder / name)
    return folder


@pytest.fixture(scope="module")
def vector(tmp_path_factory):
    """Returns what the encoder of `draw_tensors` gives for a text."""
    folder = write_folder(tmp_path_factory.mktemp("t5"), "t5")
    return T5Encoder(folder, dtype="float32").encode(["a dog"])[0]


DECODER = {
    "decoder.block.0.layer.1.EncDecAttention.q.weight": np.ones((8, 16), np.float32),
    "decoder.embed_tokens.weight": np.ones((8, 16), np.float32),
    "lm_head.weight": np.ones((8, 16), np.float32),
}


AGAIN = "encoder.embed_tokens.weight"


def without_shared(tensors):
    return {AGAIN if name == "shared.weight" else name: x for name, x in tensors.items()}


def inside(tensors):
    """Returns one file with all of Stable Diffusion 3."""
    own = {f"text_encoders.t5xxl.transformer.{name}": x for name, x in tensors.items()}
    other = {"model.diffusion_model.x_embedder.bias": np.ones(3, np.float32)}
    return own | other | {"text_encoders.t5xxl.logit_scale": np.ones(1, np.float32)}


# ---- files as they are published ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda t: t | DECODER, "model.safetensors"),
        (lambda t: t | {AGAIN: t["shared.weight"]}, "model.safetensors"),
        (without_shared, "model.safetensors"),
        (lambda t: without_shared(t) | DECODER, "model.safetensors"),
        (lambda t: t, "t5xxl_fp16.safetensors"),
        (lambda t: t, "model.fp16.safetensors"),
        (inside, "sd3_medium_incl_clips_t5xxlfp16.safetensors"),
    ],
)
def test_published_files_are_the_same_encoder(tmp_path, vector, change, name):
    folder = write_as(tmp_path, change(draw_tensors("t5")), name)
    found = T5Encoder(folder, dtype="float32").encode(["a dog"])[0]
    np.testing.assert_array_equal(found, vector)


def test_a_numbered_encoder_of_a_pipeline_has_a_numbered_tokenizer(tmp_path, vector):
    """The folder has `text_encoder_3` and `tokenizer_3`, float16 in parts, beside the tokenizer of another encoder."""
    folder = tmp_path / "text_encoder_3"
    folder.mkdir()
    tensors = {name: x.astype(np.float16) for name, x in draw_tensors("t5").items()}
    write_as(folder, tensors, "model.fp16-00001-of-00001.safetensors")
    index = {"weight_map": dict.fromkeys(tensors, "model.fp16-00001-of-00001.safetensors")}
    (folder / "model.safetensors.index.fp16.json").write_text(json.dumps(index))
    (tmp_path / "tokenizer_3").mkdir()
    (folder / "tokenizer.json").rename(tmp_path / "tokenizer_3/tokenizer.json")
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer/tokenizer.json").write_text("of CLIP")
    found = T5Encoder(folder, dtype="float32").encode(["a dog"])[0]
    np.testing.assert_allclose(found, vector, atol=1e-2)


def test_several_weight_files_without_an_index_are_refused(tmp_path):
    folder = write_as(tmp_path, draw_tensors("t5"), "a.safetensors")
    save_file(draw_tensors("t5"), folder / "b.safetensors")
    with pytest.raises(InputError, match=r"found a\.safetensors, b\.safetensors, expected model"):
        T5Encoder(folder)


def test_tensors_that_belong_to_no_encoder_are_named(tmp_path):
    strange = {"strange.weight": np.ones(1, np.float32)}
    with pytest.raises(InputError, match=r"unexpected: strange\.weight"):
        T5Encoder(write_as(tmp_path, draw_tensors("t5") | strange))


def test_a_file_without_embeddings_is_named(tmp_path):
    tensors = draw_tensors("t5")
    del tensors["shared.weight"]
    with pytest.raises(InputError, match=r"missing: shared\.weight"):
        T5Encoder(write_as(tmp_path, tensors))
