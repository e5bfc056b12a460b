"""The systems that the paper compares itself with, as modes: who sees whom, what is drawn, what begins with what."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from causal_scene import TIMES, make_denoiser, make_sampling_scene, sample
from causal_scene import make_request as make_tiny_request
from test_held_parts import change_shot
from test_pool import tie
from test_sampling import CONFIG, Recorder, make_request, run, window
from tiny_generator import SAMPLING, make_generator

from lct_jax.config import LayoutConfig
from lct_jax.data.panels import cut_panels
from lct_jax.directing.prompts import Begin, GlobalPrompt, ShotPrompt
from lct_jax.directing.script import Script
from lct_jax.errors import InputError
from lct_jax.sampling.baselines import (
    ReferencePass,
    SharedPass,
    draw_shared,
    find_bias_of_banks,
    find_chance,
    weigh_references,
)
from lct_jax.sampling.request import SceneRequest, ShotLinks
from lct_jax.sampling.schedule import (
    Window,
    drop_pictures,
    plan_apart,
    plan_key_frames,
    plan_references,
)

NAMED = frozenset({"Anna"})
PICTURE = {"history": (), "is_key": True}
SCRIPT = Script(
    GlobalPrompt({"1": "A baker.", "2": "A dog."}, "A quay.", ""),
    tuple(ShotPrompt(f"Character {who} waits.") for who in (1, 2, 1, 2)),
)


def with_references(request: SceneRequest) -> SceneRequest:
    """Returns four shots as two of the film, of which the second names Anna, and pictures of Anna and of the quay."""
    links = {
        0: ShotLinks(place="quay", history=()),
        1: ShotLinks(characters=NAMED, place="quay", history=()),
        2: ShotLinks(characters=NAMED, picture_of="Anna", **PICTURE),
        3: ShotLinks(picture_of="quay", **PICTURE),
    }
    return tie(request, links)


def test_each_shot_is_sampled_with_pictures_of_what_it_names_and_no_other_shot():
    assert plan_references(with_references(make_request(4)), window(4)) == (
        Window(shots=(2,), denoised=(2,)),
        Window(shots=(3,), denoised=(3,)),
        Window(shots=(3, 0), denoised=(0,)),
        Window(shots=(2, 3, 1), denoised=(1,)),
    )


def test_a_plan_in_which_a_shot_sees_a_shot_is_no_plan_of_references():
    request = tie(make_request(2), {1: ShotLinks(history=(0,))})
    with pytest.raises(AssertionError):
        plan_references(request, window(4))


def test_a_picture_of_a_character_weighs_a_half_and_one_of_a_place_a_third():
    request = with_references(make_request(4))
    table = weigh_references(request, Window((2, 3, 1), (1,)), layers=2)
    never = -np.inf
    # Group 0, the picture of Anna, that of the quay, the shot.
    expected = [
        [0, never, never, never],
        [never, 0, never, never],
        [never, never, 0, never],
        [never, np.log(0.5), np.log(0.33), 0],
    ]
    np.testing.assert_array_equal(table.bias_GG, np.float32(expected))
    assert table.asks_N.tolist() == [True, True]


@pytest.mark.slow
def test_a_shot_with_references_hears_of_its_pictures_and_of_no_shot():
    """A picture whose noise is another changes the shots that see it; a shot changes none."""
    request = with_references(make_tiny_request(4, alike=True))
    plan, model = plan_references(request, window(4)), make_denoiser()

    def make(request: SceneRequest) -> dict[int, np.ndarray]:
        scene = make_sampling_scene(request)
        return sample(ReferencePass(model, scene, TIMES), scene, plan)

    before = make(request)
    for changed, expected in {0: {0}, 1: {1}, 2: {1, 2}, 3: {0, 1, 3}}.items():
        after = make(change_shot(request, changed, seed=7))
        assert {n for n in before if (before[n] != after[n]).any()} == expected


def make_key_frames() -> SceneRequest:
    """Returns two shots that begin with the frames 2 and 3 of four that show: Anna, Anna, Bo, Anna and Bo."""
    request = make_request(6)
    for number in range(2):
        request = change_shot(request, number, begins=Begin(2 + number))
    shows = [{"Anna"}, {"Anna"}, {"Bo"}, {"Anna", "Bo"}]
    return tie(request, {2 + n: ShotLinks(named=frozenset(who)) for n, who in enumerate(shows)})


def test_frames_of_a_bank_see_each_other_and_later_ones_read_the_banks_of_whom_they_show():
    request = tie(
        make_request(6),
        {
            0: ShotLinks(named=frozenset({"Anna", "Bo"})),
            1: ShotLinks(named=NAMED),
            2: ShotLinks(named=NAMED),
            3: ShotLinks(named=frozenset({"Bo"})),
            4: ShotLinks(named=NAMED),
        },
    )
    bias_GG = find_bias_of_banks(request, range(6))
    # Anna's bank is 1 and 2, which show nobody else; Bo's is 3 and 0. The last frame shows nobody.
    assert (bias_GG[1:, 1:] == 0.0).astype(int).tolist() == [
        [1, 0, 0, 1, 0, 0],
        [0, 1, 1, 0, 0, 0],
        [0, 1, 1, 0, 0, 0],
        [1, 0, 0, 1, 0, 0],
        [0, 1, 1, 0, 1, 0],
        [0, 0, 0, 0, 0, 1],
    ]


def test_the_coin_of_a_block_is_never_in_the_first_step_then_seven_and_nine_of_ten():
    assert [find_chance(step, 50) for step in (0, 1, 19, 20, 49)] == [0.0, 0.7, 0.7, 0.9, 0.9]


def test_what_is_drawn_is_that_of_the_seed_a_half_of_the_tokens_and_later_blocks_alone():
    bias_GG = np.zeros((2, 2), np.float32)
    draw = lambda seed, chance=0.7: draw_shared(
        jax.random.key(seed), bias_GG, chance=chance, layers=2000, tokens=4000
    )
    one, again, other = draw(0), draw(0), draw(1)
    np.testing.assert_array_equal(one.shown_BL, again.shown_BL)
    np.testing.assert_array_equal(one.asks_N, again.asks_N)
    assert (one.shown_BL != other.shown_BL).any()
    assert not one.asks_N[:1000].any()
    assert np.asarray(one.asks_N[1000:]).mean() == pytest.approx(0.7, abs=0.05)
    assert np.asarray(one.shown_BL).mean() == pytest.approx(0.5, abs=0.05)
    assert not draw(0, 0.0).asks_N.any()


def test_key_frames_are_one_window_at_one_place_and_each_shot_is_alone_behind_them():
    request = make_key_frames()
    # The frames 4 and 5 begin no shot.
    assert plan_key_frames(request, CONFIG) == (
        Window(shots=(2, 3), denoised=(2, 3)),
        *(Window(shots=(shot,), denoised=(shot,)) for shot in (0, 1, 4, 5)),
    )


def test_pictures_are_sampled_for_shots_that_are_left_alone():
    request = make_key_frames()
    plan = plan_key_frames(request, CONFIG)
    drop = lambda *done: [w.shots for w in drop_pictures(request, plan, own=2, done=done)]
    assert drop() == [(2, 3), (0,), (1,)]
    assert drop(0) == [(2, 3), (0,), (1,)]
    assert drop(0, 1) == [(0,), (1,)]


class RecordingBackbone:
    """A stand-in that returns zeros and keeps the tables that it is called with."""

    def __init__(self) -> None:
        self.forward, self.tables = Recorder(), []
        self.spec = make_denoiser().spec

    def see(self, visibility):
        self.tables.append(visibility)
        return jax.tree_util.Partial(self.forward)


def test_references_guide_by_text_alone_whatever_the_config_says():
    """Both rows see the pictures, as in the public code."""
    request = with_references(make_tiny_request(4, alike=True))
    backbone = RecordingBackbone()
    config = dataclasses.replace(CONFIG, history_guidance=2.0)
    scene = make_sampling_scene(request, config)
    sample(ReferencePass(backbone, scene, TIMES), scene, plan_references(request, window(4)))
    assert backbone.forward.calls
    for video, _, time_BS in backbone.forward.calls:
        assert len(time_BS) == 2
        np.testing.assert_array_equal(video.index.scene[0], video.index.scene[1])


def test_shared_attention_is_drawn_anew_in_every_step_and_frames_lie_at_one_place():
    request = dataclasses.replace(make_key_frames(), prompt=None)
    backbone = RecordingBackbone()
    scene = make_sampling_scene(request)
    scene = dataclasses.replace(scene, layout=LayoutConfig(scene_span=8, shot_span=4))
    executor = SharedPass(backbone, scene, TIMES)
    made = executor.denoise(Window((2, 3), (2, 3)), {}, lambda: None)
    assert made.keys() == {2, 3}
    shown = [np.asarray(table.shown_BL) for table in backbone.tables]
    assert len(shown) == 4
    assert len({tokens.tobytes() for tokens in shown}) > 1
    assert not np.asarray(backbone.tables[0].asks_N).any()
    (video, _, _), *_ = backbone.forward.calls
    starts = {tuple(video.index.coord[0, video.index.shot[0] == shot][0]) for shot in (1, 2)}
    assert starts == {(4, 4, 4)}


def test_more_than_one_device_is_refused_where_attention_is_no_kernels():
    scene = make_sampling_scene(make_key_frames())
    scene = dataclasses.replace(scene, config=dataclasses.replace(scene.config, shards=2))
    with pytest.raises(InputError, match=r"^sampling.shards: found 2, expected 1 in this mode"):
        SharedPass(RecordingBackbone(), scene, TIMES)


def test_a_shot_is_denoised_behind_its_picture_which_is_held_at_the_time_of_conditions():
    request = change_shot(make_request(2), 0, begins=Begin(1), grid=(2, 1, 2))
    request = tie(request, {1: ShotLinks(is_key=True)})
    plan = plan_apart(request, CONFIG)
    assert [w.shots for w in plan] == [(1,), (0,)]
    recorder, asked = Recorder(), {}

    def take_over(shot: int, source: np.ndarray) -> np.ndarray:
        asked[shot] = source
        return source + 1.0

    shots = run(request, plan, recorder, take_over=take_over)
    np.testing.assert_array_equal(asked[0], shots[1])
    np.testing.assert_array_equal(shots[0][:2], shots[1] + 1.0)
    # The dummy of group 0, the held row and the denoised one, in every step of the second window.
    for (video, _, time_BS), noise in zip(recorder.calls[4:], TIMES[:4], strict=True):
        times_L = np.take_along_axis(time_BS, video.index.slot, axis=1)[0]
        np.testing.assert_allclose(times_L[1:5], [0.1, 0.1, noise, noise], atol=1e-6)


def test_a_picture_of_panels_comes_apart_as_it_was_put_together():
    panels = [np.full((1, 2, 3, 3), value, np.uint8) for value in (1, 2, 3)]
    whole = np.concatenate(panels, axis=1)
    for found, panel in zip(cut_panels(whole, 3), panels, strict=True):
        np.testing.assert_array_equal(found, panel)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["references", "shared_attention", "in_context", "image_to_video"])
def test_every_mode_samples_the_shots_of_a_script_and_repeats_them(mode: str):
    generator = make_generator("full")
    make = lambda **more: {
        shot.number: shot.latent
        for shot in generator.sample(SCRIPT, mode=mode, long_prompts="cut", **more)
    }
    first, again, other = make(), make(), make(seed=1)
    assert list(first) == [0, 1, 2, 3]
    for number, latent in first.items():
        assert latent.shape[0] == (SAMPLING.frames - 1) // 4 + 1
        np.testing.assert_array_equal(latent, again[number])
        assert (latent != other[number]).any()


def test_a_caption_that_is_too_long_is_named_by_its_words():
    message = r"^script: the picture of 'Character 1: A baker\..*: found \d+ tokens of text, expected at most 32"
    with pytest.raises(InputError, match=message):
        make_generator("full").sample(SCRIPT, mode="in_context")
