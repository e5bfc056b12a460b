"""Writing scenes as real files, with the codec that only folds pixels."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file
from test_conditions import FoldingCodec, make_script, read

from lct_jax.directing.prompts import Condition, GlobalPrompt, ShotPrompt
from lct_jax.directing.script import CastPicture, Script
from lct_jax.media.seams import go_on
from lct_jax.media.storyboard import StoryboardRow
from lct_jax.media.video import read_video
from lct_jax.scene_files.page import PageShot, make_page
from lct_jax.scene_files.writer import SceneWriter

CREDIT = "Film (c) somebody"


def test_the_film_has_what_is_shown_and_no_frame_twice(tmp_path: Path) -> None:
    shots = (
        ShotPrompt("a"),
        ShotPrompt("b", cut=False, overlap=5),
        ShotPrompt("c", shown=False),
        ShotPrompt("d", size=(32, 32)),
    )
    writer = SceneWriter(tmp_path, Script(None, shots), given={}, fps=12.0, credit=CREDIT)
    for number, width in enumerate((64, 64, 64, 32)):
        frames = np.full((9, 32, width, 3), 50 * number, np.uint8)
        writer.add(number, latent=np.zeros((3, 4, 8, 3), np.float32), frames=frames)
    writer.finish(mode="joint")
    film = read_video(tmp_path / "scene.mp4").frames
    assert len(film) == 9 + 4 + 9
    middle = film[:, :, film.shape[2] // 2].mean((1, 2))
    # The second shot begins where the first one ended, and is what was sampled at its end.
    goes_on = [0, 12.5, 25, 37.5]
    np.testing.assert_allclose(middle, [0] * 9 + goes_on + [150] * 9, atol=3.0)
    np.testing.assert_allclose(film[-1][:, :8], 0, atol=3.0)  # black beside the narrower shot
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert page.count("not in the film") == 1
    assert "generated · 9 frames, 0.8 s · not in the film" in page


def write_page(word: str) -> str:
    """Returns a page of two shots on which a word stands wherever a text of the script does."""
    frames = np.zeros((1, 8, 8, 3), np.uint8)
    shots = [
        PageShot(
            StoryboardRow(frames, prompt=text, label="generated", cut=True, fps=8.0), b"", (1,)
        )
        for text in (word, "\u0634\u0645\u0633 <b>")
    ]
    prompt = GlobalPrompt({"Tom": word, word: "A hat."}, environment=word, story=word)
    return make_page(word, shots, b"", prompt=prompt, credit=word)


def test_texts_of_a_page_run_in_their_own_direction():
    page = write_page("hut")
    assert '<p class="prompt" dir="auto">\u0634\u0645\u0633 &lt;b&gt;</p>' in page
    assert '<dt>Environment</dt><dd dir="auto">hut</dd>' in page


@pytest.mark.programs
@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_a_page_is_no_wider_than_a_phone(tmp_path):
    """A frame of 390 pixels stands for the phone, since a window of the browser cannot be so narrow."""
    (tmp_path / "index.html").write_text(write_page("unbroken" * 30), encoding="utf-8")
    (tmp_path / "phone.html").write_text(
        '<iframe id="phone" width="390" height="900" src="index.html"></iframe><script>onload = () => '
        "document.title = `${phone.contentDocument.documentElement.scrollWidth} wide`</script>"
    )
    shown = subprocess.run(
        [
            *("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            *(
                "--hide-scrollbars",
                "--allow-file-access-from-files",
                f"--user-data-dir={tmp_path / 'user'}",
            ),
            (tmp_path / "phone.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    ).stdout
    assert "<title>390 wide</title>" in shown


def test_a_shot_goes_on_from_what_is_shown_before_it() -> None:
    rng = np.random.default_rng(0)
    before = rng.integers(60, 190, (5, 4, 6, 3), np.uint8)
    new = rng.integers(60, 190, (8, 4, 6, 3), np.uint8)
    # What is taken over was decoded once more, and lost 40 grey levels.
    shot = np.concatenate([before[-1:] - np.uint8(40), new])
    found = go_on(before, shot, 1)
    added = found.astype(int) - new
    np.testing.assert_array_equal(added[:, 0, 0, 0], [40, 35, 30, 25, 20, 15, 10, 5])
    assert (added == added[:, :1, :1, :1]).all()
    np.testing.assert_array_equal(go_on(None, shot, 1), new)
    np.testing.assert_array_equal(go_on(before, shot, 0), shot)
    # Nothing is added where nothing was lost, and no colour leaves its range.
    np.testing.assert_array_equal(go_on(before, np.concatenate([before[-1:], new]), 1), new)
    bright = np.full((2, 4, 6, 3), 250, np.uint8)
    assert (go_on(bright, np.stack([bright[0] - np.uint8(99), bright[0]]), 1) == 255).all()


def test_shots_of_an_older_longer_scene_are_removed(tmp_path: Path) -> None:
    latent, frames = np.zeros((3, 4, 8, 3), np.float32), np.zeros((9, 32, 64, 3), np.uint8)
    for shots in (2, 1):
        script = Script(None, (ShotPrompt("a"),) * shots)
        writer = SceneWriter(tmp_path, script, given={}, fps=12.0, credit=CREDIT)
        for number in range(shots):
            writer.add(number, latent=latent, frames=frames)
        writer.finish(mode="joint")
    assert [path.name for path in (tmp_path / "shots").iterdir()] == ["shot_01.mp4"]


def test_the_writer_writes_shots_at_once_and_then_the_scene(tmp_path: Path) -> None:
    Image.new("RGB", (64, 32), (0, 0, 255)).save(tmp_path / "blue.png")
    script = make_script(str(tmp_path / "blue.png"), "", "")
    writer = SceneWriter(
        tmp_path / "out",
        script,
        given=read(script),
        fps=12.0,
        credit=CREDIT,
    )
    latents = {n: np.full((2, 4, 8, 3), n / 4, np.float32) for n in (1, 2)}
    codec = FoldingCodec()
    first = writer.add(1, latent=latents[1], frames=codec.decode(latents[1]))
    assert first == tmp_path / "out/shots/shot_02.mp4"
    assert first.exists()  # before the scene is done: a crash later loses nothing
    writer.add(2, latent=latents[2], frames=codec.decode(latents[2]))
    paths = writer.finish(mode="joint")

    scene = read_video(tmp_path / "out/scene.mp4")
    assert scene.frames.shape[0] == 5 + 5  # the given still leads the scene but is no part of it
    means = scene.frames.mean((1, 2, 3))
    np.testing.assert_allclose(means[:5], 63.75, atol=3.0)
    np.testing.assert_allclose(means[5:], 127.5, atol=3.0)
    saved = load_file(tmp_path / "out/latents.safetensors")
    assert sorted(saved) == ["shot_01", "shot_02", "shot_03"]
    np.testing.assert_array_equal(saved["shot_03"], latents[2])
    with Image.open(tmp_path / "out/storyboard.png") as board:
        assert board.info["Comment"] == CREDIT
    assert sorted(path.name for path in paths) == [
        "index.html",
        "latents.safetensors",
        "scene.mp4",
        "storyboard.png",
    ]


def test_given_pictures_of_the_cast_are_on_the_storyboard_and_the_page(tmp_path: Path) -> None:
    Image.new("RGB", (64, 32), (0, 0, 255)).save(tmp_path / "blue.png")
    picture = Condition(str(tmp_path / "blue.png"))
    pictures = (
        CastPicture(picture, "Blue.", character="1"),
        CastPicture(picture, "Nobody names it.", place="<cellar>"),
        CastPicture(picture, "Blue.", place="<attic>"),
    )
    shots = (ShotPrompt("Character 1 waits.", place="<attic>"),)
    script = Script(GlobalPrompt({"1": "A man."}, "", ""), shots, pictures)
    given = read(script)
    writer = SceneWriter(tmp_path / "out", script, given=given, fps=12.0, credit="")
    latent = np.zeros((1, 4, 8, 3), np.float32)
    writer.add(0, latent=latent, frames=np.zeros((1, 32, 64, 3), np.uint8))
    writer.finish(mode="joint")
    page = (tmp_path / "out/index.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    assert "Character 1</figcaption>" in page and "&lt;attic&gt;</figcaption>" in page
    with Image.open(tmp_path / "out/storyboard.png") as board:
        blue = (np.array(board) == (0, 0, 255)).all(axis=-1)
    # Two pictures of 180x360 pixels, but for their round corners.
    assert 0.99 < blue.sum() / (2 * 180 * 360) <= 1


def test_the_page_has_videos_prompts_and_histories_and_needs_nothing_else(tmp_path: Path) -> None:
    shots = (ShotPrompt("A <quay>."), ShotPrompt("Fog.", cut=False), ShotPrompt("Sun."))
    frames = np.zeros((5, 16, 16, 3), np.uint8)
    rows = [
        StoryboardRow(frames, shot.text, 12.0, "given" if n == 0 else "generated", shot.cut)
        for n, shot in enumerate(shots)
    ]
    saw = ((), (1,), (1, 2))
    page = make_page(
        "Three",
        [PageShot(row, b"mp4", seen) for row, seen in zip(rows, saw, strict=True)],
        b"film",
        prompt=GlobalPrompt({"1": "A & B."}, "", "They meet."),
        credit=CREDIT,
    )
    assert page.count("data:video/mp4;base64,bXA0") == 3
    assert page.count("data:video/mp4;base64,ZmlsbQ==") == 1
    assert "A &lt;quay&gt;." in page and "A &amp; B." in page and "<quay>" not in page
    assert page.count("<path ") == 3  # 2 saw 1; 3 saw 1 and 2
    assert page.count('class="given"') == 1
    assert "generated · 5 frames, 0.4 s · no cut · saw 1<" in page
    assert CREDIT in page
    assert "http" not in page and "<script" not in page
    plain = make_page("One", [PageShot(rows[0], b"mp4", ())], b"", prompt=None, credit="")
    assert "<path" not in plain and "<footer" not in plain
