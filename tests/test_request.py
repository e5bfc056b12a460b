"""From a script to the sampler's request: texts as tokens, sizes, given pictures."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scenes import TINY, TINY_WAN

from lct_jax.backbones.registry import describe
from lct_jax.config import NetworkConfig, SamplingConfig
from lct_jax.config.network import change
from lct_jax.directing.field_reader import Source
from lct_jax.directing.prompts import GlobalPrompt, ShotPrompt
from lct_jax.directing.script import Script
from lct_jax.encoders.stand_in import StandInEncoder
from lct_jax.errors import InputError
from lct_jax.sampling.encode_script import list_texts, make_request
from lct_jax.sampling.request import ShotLatents

MODEL = change(TINY, scene_span=10, shot_span=9)
BESIDE = change(TINY_WAN, text_places=19, scene_span=10, shot_span=9)
ENCODER = StandInEncoder(TINY.backbone.text_width)
SAMPLING = SamplingConfig(
    frames=9, height=32, width=64, negative_scene="bad film", negative_shot="bad"
)
PROMPT = GlobalPrompt(characters={}, environment="A quay", story="")


def request(
    script: Script,
    *,
    sampling: SamplingConfig = SAMPLING,
    network: NetworkConfig = MODEL,
    **given: np.ndarray,
):
    return make_request(
        script,
        encode=ENCODER.encode,
        latents=[
            ShotLatents(latent.shape[:3], latent) if latent is not None else ShotLatents((3, 4, 8))
            for latent in (given.get(f"shot_{n}") for n in range(len(script.shots)))
        ],
        spec=describe(network),
        layout=network.layout,
        sampling=sampling,
    )


def check_text(found: np.ndarray, text: str) -> None:
    np.testing.assert_array_equal(found, ENCODER.encode([text])[0])


def test_prompts_and_negative_prompts_are_encoded():
    found = request(Script(PROMPT, (ShotPrompt("Rain."), ShotPrompt("Fog.", cut=False))))
    check_text(found.prompt.text, "Environment: A quay")
    check_text(found.prompt.negative, "bad film")
    check_text(found.shots[0].prompt.text, "[SHOT CUT] Rain.")
    check_text(found.shots[1].prompt.text, "Fog.")
    check_text(found.shots[1].prompt.negative, "bad")


@pytest.mark.parametrize(
    ("script", "count"),
    [
        (Script(PROMPT, (ShotPrompt("Rain."), ShotPrompt("Fog.", cut=False))), 5),
        (Script(None, (ShotPrompt("Rain."), ShotPrompt("Fog."))), 5),
        (Script(None, (ShotPrompt("Rain."),)), 3),
        (Script(None, (ShotPrompt("Rain.", negative="dry"),)), 4),
    ],
)
def test_the_listed_texts_are_those_of_which_a_request_asks_tokens(script, count):
    asked: list[str] = []

    def encode(texts):
        asked.extend(texts)
        return ENCODER.encode(texts)

    make_request(
        script,
        encode=encode,
        latents=[ShotLatents((3, 4, 8))] * len(script.shots),
        spec=describe(MODEL),
        layout=MODEL.layout,
        sampling=SAMPLING,
    )
    assert list_texts(script, SAMPLING) == asked
    assert len(asked) == count


def test_grids_and_given_latents_become_tokens():
    latent = np.arange(1 * 6 * 2 * 2.0).reshape(1, 6, 2, 2)
    found = request(Script(PROMPT, (ShotPrompt("a"), ShotPrompt("b", seed=7))), shot_0=latent)
    assert [shot.grid for shot in found.shots] == [(1, 3, 1), (3, 2, 4)]
    assert found.shots[1].given is None
    assert found.shots[0].given.shape == (3, found.channels) == (3, MODEL.backbone.patch_channels)
    assert [shot.seed for shot in found.shots] == [None, 7]


def test_a_shot_may_have_a_negative_prompt_of_its_own():
    found = request(Script(PROMPT, (ShotPrompt("a", negative="so bad"), ShotPrompt("b"))))
    check_text(found.shots[0].prompt.negative, "so bad")
    check_text(found.shots[1].prompt.negative, "bad")


def test_a_scene_without_a_global_prompt_gets_an_empty_one():
    found = request(Script(None, (ShotPrompt("a"), ShotPrompt("b"))))
    check_text(found.prompt.text, "")


def test_a_single_shot_has_no_global_prompt():
    assert request(Script(None, (ShotPrompt("a"),))).prompt is None


def test_beside_video_a_shot_reads_the_global_prompt_and_its_own():
    script = Script(PROMPT, (ShotPrompt("Rain."), ShotPrompt("Fog.", cut=False)))
    found = request(script, network=BESIDE)
    assert (found.prompt, found.text) == (None, "beside")
    parts = ENCODER.encode(["Environment: A quay", "Fog."])
    np.testing.assert_array_equal(found.shots[1].prompt.text, np.concatenate(parts))
    parts = ENCODER.encode(["bad film", "bad"])
    np.testing.assert_array_equal(found.shots[1].prompt.negative, np.concatenate(parts))
    assert found.plan((0, 1), negative=False).global_text is None
    # A negative prompt without words is that of the shot alone, as in training.
    plain = dataclasses.replace(SAMPLING, negative_scene="")
    check_text(request(script, network=BESIDE, sampling=plain).shots[0].prompt.negative, "bad")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"negative_scene": "so " * 9}, r"^sampling\.negative_scene: found 11 .* at most 10"),
        ({"negative_shot": "so " * 9}, r"^sampling\.negative_shot: found 11 .* at most 9"),
    ],
)
def test_settings_that_do_not_fit_are_named(change, expected):
    sampling = dataclasses.replace(SAMPLING, **change)
    with pytest.raises(InputError, match=expected):
        request(Script(PROMPT, (ShotPrompt("a"),)), sampling=sampling)


def test_texts_over_their_spans_are_named():
    with pytest.raises(
        InputError, match=r"^script: shots\[1\]\.prompt: found 10 .* at most 9: shorten it by 1, or"
    ):
        request(Script(PROMPT, (ShotPrompt("a"), ShotPrompt("a b c d e f g h", cut=False))))
    long = dataclasses.replace(PROMPT, story="a b c d e f g")
    with pytest.raises(InputError, match=r"^script: story: global prompt: found .* at most 10"):
        request(Script(long, (ShotPrompt("a"),)))


def test_the_global_prompt_is_named_by_the_line_of_its_longest_part():
    text = "format: x\ncharacters:\n  1: a\n  2: a b c d e f g\nstory: a b\n"
    prompt = GlobalPrompt({"1": "a", "2": "a b c d e f g"}, "", "a b")
    script = Script(prompt, (ShotPrompt("a"),), source=Source("s.yaml", text, "yaml"))
    with pytest.raises(InputError, match=r"^s\.yaml: line 4: characters\.2: global prompt: found "):
        request(script)


def test_texts_over_their_spans_are_cut_only_when_asked():
    sampling = dataclasses.replace(SAMPLING, long_prompts="cut")
    long = ShotPrompt("a b c d e f g h i", cut=False)
    found = request(Script(PROMPT, (long,)), sampling=sampling).shots[0].prompt.text
    np.testing.assert_array_equal(found, ENCODER.encode([long.text])[0][:9])
