"""What is evaluated and how: scenes, rows, features and judges by name, and the report."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tiny_film import HEIGHT, WIDTH, draw_frames, make_tiny_film, write_json
from tiny_generator import make_generator

from lct_jax.chat import RefusedAnswer
from lct_jax.chat.endpoint import Endpoint
from lct_jax.chat.errors import ChatError
from lct_jax.directing.arrange import tell_apart
from lct_jax.directing.prompts import GlobalPrompt, ShotPrompt
from lct_jax.directing.script import Script
from lct_jax.errors import InputError
from lct_jax.evaluation.bootstrap import Estimate, estimate_mean
from lct_jax.evaluation.features.protocol import embed_in_batches, load_features
from lct_jax.evaluation.judges.protocol import load_judge
from lct_jax.evaluation.judges.vision_model import VisionModel, read_scores
from lct_jax.evaluation.measure_row import measure_texts
from lct_jax.evaluation.report import to_markdown, write_report
from lct_jax.evaluation.rows import BASELINES, ROWS, choose_rows
from lct_jax.evaluation.sample_row import RowSampler, make_single, speak_alone
from lct_jax.evaluation.samples import SampledShots
from lct_jax.evaluation.scenes import EvaluatedScene, Pictures, load_scenes
from lct_jax.media.video import write_video

PICTURES = Pictures(fps=12, longest=9, area=HEIGHT * WIDTH, multiple=(8, 8))
SCRIPT = {"format": "lct_jax.script/1", "shots": [{"prompt": "Rain."}, {"prompt": "Snow."}]}


def test_scenes_of_a_film_come_with_its_shots(tmp_path):
    """A shot that the next one goes on from gives its last frames, every other one its first ones."""
    film = make_tiny_film(tmp_path)
    quay, road = load_scenes(film.scenes, PICTURES, split="train")
    assert [(s.id, len(s.filmed)) for s in (quay, road)] == [("quay", 3), ("road", 2)]
    assert [[len(shot) for shot in s.filmed] for s in (quay, road)] == [[9, 9, 9], [8, 9]]
    assert quay.filmed[0].shape == (9, HEIGHT, WIDTH, 3)
    begun = quay.begin(2)
    assert (begun.script.shots, len(begun.filmed)) == (quay.script.shots[:2], 2)
    assert quay.begin(None).script == quay.script
    frames = draw_frames().astype(int)
    for shot, start in ((quay.filmed[0], 0), (road.filmed[0], 52), (road.filmed[1], 60)):
        assert np.abs(shot.astype(int) - frames[start : start + len(shot)]).mean() < 4
    (end,) = load_scenes(film.scenes, PICTURES, split="held_out")
    assert (end.id, end.script.shots[0].text) == ("end", "Character 1 leaves, and the dog stays.")
    # What a model's config held out is not what it was trained on.
    held_out = load_scenes(film.scenes, PICTURES, split="held_out", hold_out=("quay",))
    assert [scene.id for scene in held_out] == ["quay", "end"]
    (trained,) = load_scenes(film.scenes, PICTURES, split="train", hold_out=("quay",))
    assert trained.id == "road"


def test_a_script_and_a_folder_of_scripts_with_filmed_shots(tmp_path):
    alone = write_json(tmp_path / "alone.json", SCRIPT)
    assert [s.filmed for s in load_scenes(alone, PICTURES, split="held_out")] == [()]
    write_json(tmp_path / "both.json", SCRIPT)
    for number in (1, 2):
        shot = np.full((5, 64, 96, 3), 60 * number, np.uint8)
        write_video(tmp_path / "both" / f"shot_{number:02d}.mp4", shot, 12)
    first, second = load_scenes(tmp_path, PICTURES, split="held_out")
    assert (first.id, first.filmed, second.id) == ("alone", (), "both")
    assert [shot.shape for shot in second.filmed] == [(5, HEIGHT, WIDTH, 3)] * 2
    assert [round(float(shot.mean()), -1) for shot in second.filmed] == [60, 120]


def test_scenes_that_cannot_be_evaluated_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"found nothing to sample, expected scripts"):
        load_scenes(tmp_path, PICTURES, split="held_out")
    (tmp_path / "x.png").touch()
    given = {**SCRIPT, "shots": [{"prompt": "Rain.", "given": "x.png"}]}
    script = write_json(tmp_path / "s.json", given)
    with pytest.raises(InputError, match=r"s\.json: shots\[0\]\.given: found .*x\.png', expected"):
        load_scenes(script, PICTURES, split="held_out")
    write_json(script, SCRIPT)
    (tmp_path / "s").mkdir()
    with pytest.raises(InputError, match=r"s: found 0 files shot_01\.\*, expected one for every"):
        load_scenes(script, PICTURES, split="held_out")


def test_rows_are_those_whose_weights_are_given():
    assert list(choose_rows("all", weights={"checkpoint"})) == [
        "single_after",
        "independent",
        "joint",
        "autoregressive",
    ]
    assert list(choose_rows("causal,joint", weights={"checkpoint", "causal"})) == [
        "joint",
        "causal",
    ]
    # The systems that are compared with are sampled where they are named alone.
    named = "shared_attention,references,joint"
    assert list(choose_rows(named, weights={"checkpoint", "base"})) == [
        "joint",
        "references",
        "shared_attention",
    ]
    with pytest.raises(InputError, match=r"--in_context: missing, expected weights for the row in"):
        choose_rows("in_context", weights={"base"})
    with pytest.raises(InputError, match=r"--base: missing, expected weights for the row in_cont"):
        choose_rows("in_context", weights={"in_context"})
    assert ROWS["independent"].fields == {"window": 1}
    with pytest.raises(InputError, match=r"--rows: found 'both', expected some of single_before"):
        choose_rows("both", weights={"checkpoint"})
    with pytest.raises(InputError, match=r"--base: missing, expected weights for the row single_b"):
        choose_rows("single_before", weights={"checkpoint"})


@pytest.mark.slow
def test_panels_are_filmed_by_the_base_and_kept_samples_tell_who_filmed_them(tmp_path):
    panels, base = make_generator("full"), make_generator("causal")
    script = Script(None, (ShotPrompt("Rain."), ShotPrompt("Snow.")))
    scene, settings = EvaluatedScene("quay", script), {"long_prompts": "cut"}
    row = BASELINES["in_context"]
    sampler = RowSampler(panels, row, settings, told=False, animator=base)
    frames = sampler.sample(scene, 0, tmp_path / "quay.0").frames
    manifest = json.loads((tmp_path / "quay.0" / "manifest.json").read_text())
    assert manifest["made"]["animator"] == base.identify()
    for kept, made in zip(
        sampler.sample(scene, 0, tmp_path / "quay.0").frames, frames, strict=True
    ):
        np.testing.assert_array_equal(kept, made)
    with pytest.raises(InputError, match="found samples of other weights"):
        RowSampler(panels, row, settings, told=False).sample(scene, 0, tmp_path / "quay.0")


def test_a_shot_that_stands_alone_has_its_own_prompt_without_descriptions():
    prompt = GlobalPrompt({"1": "A woman."}, "A quay.", "A farewell.")
    shots = (ShotPrompt("Character 1 waits."), ShotPrompt("Rain.", alone="Rain on a quay."))
    spoken = tell_apart(speak_alone(Script(prompt, shots)))
    assert [shot.text for shot in spoken.shots] == ["Character 1 waits.", "Rain on a quay."]
    assert spoken.prompt is None


def test_a_single_shot_describes_who_it_names_where_its_training_did():
    prompt = GlobalPrompt({"1": "A woman.", "2": "A man."}, "A quay.", "A farewell.")
    shots = (ShotPrompt("Rain."), ShotPrompt("Character 2 waits.", cut=False, refers=(1,)))
    plain = make_single(Script(prompt, shots), 1, told=False)
    assert plain == Script(None, (ShotPrompt("Character 2 waits.", cut=False),))
    told = make_single(Script(prompt, shots), 1, told=True)
    assert told.shots[0].text == "Character 2: A man. Character 2 waits."
    assert make_single(Script(prompt, shots), 0, told=True) == Script(None, (ShotPrompt("Rain."),))


def test_features_and_judges_are_found_by_their_files(tmp_path):
    with pytest.raises(InputError, match=r"--features: found 'dino', expected one of .*thumbnail"):
        load_features("dino", folder=tmp_path)
    with pytest.raises(InputError, match=r"--judges: found 'me', expected one of vision_model"):
        load_judge("me", folder=tmp_path)
    picture = np.zeros((2, 18, 32, 3), np.uint8)
    picture[:, :9] = 255  # the upper half
    units = load_features("thumbnail", folder=tmp_path).embed(picture)
    assert units.shape == (2, 432)
    assert units[0, :192].min() == 1.0 and units[0, -192:].max() == -1.0


def test_features_without_weights_name_their_package(tmp_path, monkeypatch):
    monkeypatch.setattr("lct_jax.evaluation.features.efficientnet.PACKAGE", "no-such-package")
    with pytest.raises(InputError, match=r"--features=efficientnet: found no package no-such-pack"):
        load_features("efficientnet", folder=tmp_path)


def test_clip_that_is_not_there_says_what_belongs_where(tmp_path):
    with pytest.raises(
        InputError, match=r"CLIP: .*clip: no such folder, expected config\.json, mod"
    ):
        load_features("clip", folder=tmp_path)
    (tmp_path / "clip").mkdir()
    config = tmp_path / "clip" / "config.json"
    write_json(config, {"vision_config": {}, "text_config": {}})
    with pytest.raises(InputError, match=r"config\.json: found no 'image_size', expected the conf"):
        load_features("clip", folder=tmp_path)


def test_a_shot_is_compared_with_its_own_prompt():
    class Letters:
        """Is a CLIP of two numbers: whether a text or a picture is bright, or dark."""

        def embed(self, frames):
            return np.array([[f.mean() > 127, f.mean() <= 127] for f in frames], np.float32)

        def embed_texts(self, texts):
            return np.array([["bright" in text, "dark" in text] for text in texts], np.float32)

    script = Script(None, (ShotPrompt("bright"), ShotPrompt("bright"), ShotPrompt("bright, dark")))
    frames = tuple(np.full((5, 8, 8, 3), level, np.uint8) for level in (200, 20, 20))
    found = measure_texts(SampledShots("s", 0, script, frames), Letters())
    assert found["CLIP text"] == pytest.approx([1.0, 0.0, 0.5**0.5])


def test_batches_are_padded_and_cut_again():
    sizes = []

    def forward(x):
        sizes.append(len(x))
        return x[:, :1] * 2

    found = embed_in_batches(forward, np.arange(5.0)[:, None], size=4)
    assert sizes == [4, 4]
    np.testing.assert_array_equal(found[:, 0], [0, 2, 4, 6, 8])


class Answers:
    """Is a `Chat` that has one answer, checked as a real one is."""

    endpoint = Endpoint("http://nowhere/v1", "seer")

    def __init__(self, answer: object) -> None:
        self.answer, self.messages = answer, None

    def ask(self, messages, check):
        self.messages = messages
        if isinstance(self.answer, Exception):
            raise self.answer
        return check(self.answer)


def judge(answer: object) -> tuple[dict, Answers]:
    frames = tuple(np.zeros((5, 8, 8, 3), np.uint8) for _ in range(2))
    script = Script(None, (ShotPrompt("Rain."), ShotPrompt("Snow.", cut=False)))
    chat = Answers(answer)
    return VisionModel(chat).judge(SampledShots("s", 0, script, frames)), chat


def test_a_vision_model_sees_a_frame_and_the_prompt_of_every_shot():
    found, chat = judge({"characters": None, "place": 4, "text": [2, 5]})
    assert found == {"judged characters": [], "judged place": [4.0], "judged text": [2.0, 5.0]}
    parts = chat.messages[1]["content"]
    assert [part["type"] for part in parts] == ["text", "text", "image_url", "text", "image_url"]
    assert parts[1]["text"] == "Shot 1: [SHOT CUT] Rain."
    assert parts[3]["text"] == "Shot 2: Snow."


def test_an_answer_that_cannot_be_used_gives_no_case_and_no_answer_is_an_error():
    assert judge(RefusedAnswer("no"))[0] == {}
    with pytest.raises(InputError, match=r"--judges=vision_model: busy"):
        judge(ChatError("busy"))
    for answer, message in (
        ([], "it is no object"),
        ({"text": [1]}, "text: expected 2 scores"),
        ({"text": [1, 2], "place": 6}, "place: found 6, expected a number from 1 to 5"),
    ):
        with pytest.raises(InputError, match=message):
            read_scores(answer, 2)


def test_a_report_shows_intervals_and_leaves_out_what_has_no_case(tmp_path):
    one = {
        "cross-shot consistency": Estimate(0.5, 0.25, 0.75, 8),
        "copied shots": Estimate(None, None, None, 0),
        "Frechet": Estimate(0.125, None, None, 40),
        "judged place": Estimate(4.0, 3.0, 5.0, 2),
    }
    results = {"joint": one, "causal": {}}
    assert to_markdown(results, ["A note."]).split("\n\n")[0] == (
        "| Agreement and diversity | cross-shot consistency |\n|---|---|\n"
        "| joint | 0.50 (0.25 to 0.75) |\n| causal | - |"
    )
    boards = {"quay & road": {"joint": "samples/joint/quay.0/storyboard.png"}}
    made = {"joint": {"weights": "0123"}}
    text = write_report(tmp_path, results, ["A note."], boards=boards, made=made)
    assert text == (tmp_path / "table.md").read_text()
    assert "| Judges | judged place |" in text and text.endswith("- A note.\n")
    assert "copied shots |" not in text
    values = json.loads((tmp_path / "results.json").read_text())
    assert values["rows"]["joint"]["Frechet"] == {
        "value": 0.125,
        "low": None,
        "high": None,
        "count": 40,
        "scenes": [],
    }
    assert values["less independent"] == {}
    assert values["made"] == made
    page = (tmp_path / "index.html").read_text()
    assert "<td>0.50 <small>(0.25 to 0.75)</small></td>" in page and "quay &amp; road" in page
    assert 'src="samples/joint/quay.0/storyboard.png"' in page


def test_a_report_says_what_rows_have_more_than_independent_shots():
    rows = {
        "as filmed": [[0.9], [0.8]],
        "independent shots": [[0.5], [0.25]],
        "scene, joint": [[0.75], [0.5]],
    }
    results = {
        title: {
            "cross-shot consistency": estimate_mean(cases),
            "copied shots": estimate_mean(cases),
        }
        for title, cases in rows.items()
    }
    assert to_markdown(results, []).split("\n\n")[2] == (
        "| Less independent shots | cross-shot consistency |\n|---|---|\n"
        "| scene, joint | 0.25 (0.25 to 0.25) |"
    )
