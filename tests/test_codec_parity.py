"""Compares codecs and encoders with other implementations, on the same random weights in the published files.

They need torch, diffusers, transformers, ftfy and lpips-jax (`make install-parity`), imported where they are used:
the default suite runs without them.
"""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from t5_files import WORDS, write_folder

from lct_jax.codecs.lpips import load_lpips
from lct_jax.codecs.wan22_vae import Wan22VAE
from lct_jax.codecs.wan_vae import WanVAE
from lct_jax.encoders.prompts import PromptRules, clean_prompt, keep_prompt
from lct_jax.encoders.t5 import T5Encoder
from lct_jax.encoders.umt5 import UMT5Encoder

# Warnings of other libraries at import do not matter here.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
TOLERANCE = 1e-4


def assert_close(found, expected):
    """Checks agreement within 1e-4 of the largest number."""
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < TOLERANCE * np.abs(expected).max()


def spread_weights(model):
    """Makes all weights random, because norms and biases start at one and zero, which would hide mistakes."""
    import torch

    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model.eval()


def make_wan(folder, codec=WanVAE, **sizes):
    """Returns diffusers' VAE of some size, and this project's from its files."""
    from diffusers import AutoencoderKLWan

    theirs = spread_weights(AutoencoderKLWan(**sizes))
    theirs.save_pretrained(folder)
    return theirs, codec.load(folder, channels=theirs.config.z_dim)


@pytest.fixture(scope="module")
def wan(tmp_path_factory):
    """Returns VAEs of small width."""
    statistics = {"latents_mean": [0.1, -0.2, 0.3, 0.0], "latents_std": [2.0, 1.0, 0.5, 3.0]}
    return make_wan(tmp_path_factory.mktemp("wan"), base_dim=8, z_dim=4, **statistics)


@pytest.fixture(scope="module")
def wan22(tmp_path_factory):
    """Returns VAEs of small width and of Wan 2.2: patches, shortcuts, a decoder wider than its encoder."""
    version = {**Wan22VAE.version, "scale_factor_spatial": 16}
    statistics = {"latents_mean": [0.0] * 6, "latents_std": [1.0] * 6}
    sizes = {"base_dim": 8, "decoder_base_dim": 12, "z_dim": 6, **statistics, **version}
    return make_wan(tmp_path_factory.mktemp("wan22"), Wan22VAE, **sizes)


@pytest.fixture(scope="module")
def wide_wan(tmp_path_factory):
    """Returns VAEs of the published width: base 96, 16 channels, 127 million parameters."""
    return make_wan(tmp_path_factory.mktemp("wide_wan"))


def to_torch(video_TXYc):
    import torch

    return torch.tensor(np.moveaxis(video_TXYc, -1, 0)[None].copy())


def from_torch(video):
    return np.moveaxis(video[0].numpy(), 0, -1)


def assert_same_vae(theirs, ours, frames, height, width):
    """Encodes the same video and decodes the same latent with both, and compares."""
    import torch

    rng = np.random.default_rng(frames)
    video = rng.uniform(-1, 1, (frames, height, width, 3)).astype(np.float32)
    with torch.no_grad():
        mean = theirs.encode(to_torch(video)).latent_dist.mode()
        made = theirs.decode(mean).sample
    assert_close(ours.encode_floats(video), from_torch(mean))
    assert_close(ours.decode_floats(from_torch(mean)), from_torch(made))
    assert made.std() > 0.01


@pytest.mark.parametrize(
    ("frames", "height", "width"),
    [(1, 24, 40), (5, 24, 40), (17, 24, 40), (33, 24, 40), (5, 21, 35)],
)
def test_wan_vae(wan, frames, height, width):
    assert_same_vae(*wan, frames, height, width)


@pytest.mark.parametrize(
    ("frames", "height", "width"), [(1, 48, 80), (5, 48, 80), (17, 16, 48), (29, 48, 16)]
)
def test_wan_vae_of_version_22(wan22, frames, height, width):
    """Sides are odd numbers of latent positions, and frames are one to eight chunks."""
    assert_same_vae(*wan22, frames, height, width)


@pytest.mark.parametrize("frames", [1, 5])
def test_wan_vae_of_the_published_width(wide_wan, frames):
    assert_same_vae(*wide_wan, frames, 16, 24)


T5_SIZES = {
    "small": {
        "vocab_size": 8,
        "d_model": 32,
        "d_kv": 8,
        "d_ff": 40,
        "num_layers": 3,
        "num_heads": 4,
    },
    # The model has one layer as wide as XXL's.
    "wide": {
        "vocab_size": 8,
        "d_model": 4096,
        "d_kv": 64,
        "d_ff": 10240,
        "num_layers": 1,
        "num_heads": 64,
    },
}


@pytest.mark.parametrize("size", T5_SIZES)
@pytest.mark.parametrize("kind", ["t5", "umt5"])
def test_t5(kind, size, tmp_path):
    import torch
    import transformers

    classes = {
        "t5": (transformers.T5Config, transformers.T5EncoderModel),
        "umt5": (transformers.UMT5Config, transformers.UMT5EncoderModel),
    }
    config, model = classes[kind]
    write_folder(tmp_path)  # keeps the tokenizer
    torch.manual_seed(0)
    proj = {"feed_forward_proj": "gated-gelu"}
    theirs = spread_weights(model(config(**T5_SIZES[size], **proj, dropout_rate=0.0)))
    theirs.save_pretrained(tmp_path)
    rules = PromptRules(clean=keep_prompt, max_tokens=512, pad=False)
    text = " ".join(WORDS[3:] * (30 if size == "small" else 2))
    ours = T5Encoder(tmp_path, rules=rules, dtype="float32", model_type=kind)
    ids = ours.tokenize([text])[0]
    padded = torch.zeros((1, len(ids) + 5), dtype=torch.long)
    padded[0, : len(ids)] = torch.tensor(ids)
    mask = (torch.arange(padded.shape[1]) < len(ids))[None].long()
    with torch.no_grad():
        expected = theirs(input_ids=padded, attention_mask=mask).last_hidden_state
    assert_close(ours.encode([text])[0], expected[0, : len(ids)].numpy())
    if size == "small":
        seen = T5Encoder(
            tmp_path,
            rules=PromptRules(clean=keep_prompt, max_tokens=padded.shape[1], pad=True),
            dtype="float32",
            model_type=kind,
        )
        with torch.no_grad():  # Stable Diffusion 3 uses no mask
            expected = theirs(input_ids=padded).last_hidden_state
        assert_close(seen.encode([text])[0], expected[0].numpy())


def test_the_first_t5(tmp_path):
    """This model has ReLU without a gate."""
    import torch
    import transformers

    write_folder(tmp_path)
    config = transformers.T5Config(**T5_SIZES["small"], feed_forward_proj="relu")
    theirs = spread_weights(transformers.T5EncoderModel(config))
    theirs.save_pretrained(tmp_path)
    rules = PromptRules(clean=keep_prompt, max_tokens=512, pad=False)
    ours = T5Encoder(tmp_path, rules=rules, dtype="float32")
    with torch.no_grad():
        expected = theirs(input_ids=torch.tensor(ours.tokenize(["a dog in the rain"])))
    assert_close(ours.encode(["a dog in the rain"])[0], expected.last_hidden_state[0].numpy())


def test_umt5_tokens_as_the_pipeline_makes_them(tmp_path):
    """The texts are cleaned by diffusers' own function, and tokenized by transformers' fast tokenizer from the same
    file."""
    from diffusers.pipelines.wan.pipeline_wan import prompt_clean
    from transformers import PreTrainedTokenizerFast

    write_folder(tmp_path)
    theirs = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    ours = UMT5Encoder(tmp_path, dtype="float32")
    text = "  “the dog” in\n the &amp; rain "
    assert ours.tokenize([text])[0] == theirs(prompt_clean(text), padding=False).input_ids


@pytest.mark.parametrize(
    "text",
    [
        "  A man’s “film”\t in\n\n the rain ",
        "salt &amp; sea &amp;lt;3 &quot;x&quot;",
        "<b>&amp;</b> and 1 < 2 &lt; 3",
        "ﬁlm, ｆｕｌｌ\u3000width ﾊﾝｶｸ",
        "cafe\u0301\x00\ufeff\u2028next",
        "雨の中、犬が走る。",
        "Ein Hund läuft – „schnell“ …",
        "Un perro corre por la playa; ¿adónde?",
    ],
)
def test_prompts_are_cleaned_as_in_the_pipeline(text):
    from diffusers.pipelines.wan.pipeline_wan import prompt_clean

    assert clean_prompt(text) == prompt_clean(text)


@pytest.mark.parametrize("network", ["alexnet", "vgg16"])
def test_lpips(network, tmp_path):
    from lpips_jax.lpips import LPIPS

    key = jax.random.key(0)
    one = jax.random.uniform(key, (2, 64, 64, 3), minval=-1, maxval=1)
    other = jnp.clip(one + jnp.asarray([0.05, 0.5]).reshape(2, 1, 1, 1) * one[::-1, ::-1], -1, 1)
    ours = load_lpips(network, folder=tmp_path)(one, other)
    theirs = LPIPS(net_type=network, use_dropout=False)
    params = _nest(tmp_path / f"lpips_{network}.safetensors")
    with jax.numpy_rank_promotion("allow"):
        expected = theirs.apply({"params": params}, one, other).reshape(2)
    np.testing.assert_allclose(ours, expected, rtol=1e-4)
    assert 0.0001 < ours[0] < ours[1]


def _nest(path):
    from safetensors.numpy import load_file

    tree = {}
    for name, array in load_file(path).items():
        *parents, leaf = name.split(".")
        place = tree
        for parent in parents:
            place = place.setdefault(parent, {})
        place[leaf] = array
    return tree


def test_sizes_are_read_from_the_published_config(wan, tmp_path):
    theirs, ours = wan
    theirs.save_pretrained(tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    assert ours._config.base_dim == values["base_dim"] == 8
    assert list(ours._config.latents_std) == values["latents_std"]
