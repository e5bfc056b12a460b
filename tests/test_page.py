"""The page of blind comparison: what it holds and hides, and, in a browser where one is installed, how it counts."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from lct_jax.errors import InputError
from lct_jax.evaluation.page import QUESTIONS, find_scenes, make_page, read_sets
from lct_jax.media.video import write_video
from lct_jax.scene_files.record import SceneRecord

# Clicks the letters of every question from first to last, which ranks the left video best in every scene.
RANK_THE_LEFT_FIRST = """
<script>
for (const scene of data.scenes) {
  const questions = find("questions").children.length;
  for (let i = 0; i < questions; i++) find("questions").children[i].querySelectorAll("button")[0].click();
  find("next").click();
}
</script></html>"""


def make_sets(folder: Path, *, scenes: int = 3, videos: bool = False) -> str:
    """Writes two sets of scenes, and returns the flag that names them."""
    for name in ("old", "new"):
        for number in range(scenes):
            path = folder / name / f"scene_{number}" / "scene.mp4"
            path.parent.mkdir(parents=True)
            path.write_bytes(f"video of {name} {number}".encode())
            if videos:
                write_video(path, np.full((5, 32, 48, 3), 90 + 60 * number, np.uint8), 12)
        about = {"script": ["A quay </script>.", "[SHOT CUT] Rain."]}
        (folder / name / "scene_0" / "sample.json").write_text(json.dumps(about))
    plain = {
        "characters": {"1": {"text": "A man.", "images": [{"file": "gone.png"}]}},
        "shots": [{"prompt": "Sun.", "cut": True}, {"prompt": "Fog.", "cut": False}],
    }
    SceneRecord.open(folder / "old/scene_1", {"script": plain}, {})
    return f"old={folder / 'old'},new={folder / 'new'}"


def write_page(folder: Path, **about: bool | int) -> str:
    sets = read_sets(make_sets(folder, **about))
    return make_page(list(sets), find_scenes(sets), seed=1)


def read_data(page: str) -> dict:
    return json.loads(re.search(r'id="data">(.*?)</script>', page, flags=re.DOTALL)[1])


def test_videos_lie_in_the_order_of_the_key_and_nothing_else_tells_the_sets(tmp_path):
    data = read_data(write_page(tmp_path))
    key = json.loads(base64.b64decode(data["key"]))
    assert key["names"] == ["old", "new"]
    assert {tuple(order) for order in key["orders"]} == {(0, 1), (1, 0)}
    for number, (scene, order) in enumerate(zip(data["scenes"], key["orders"], strict=True)):
        found = [base64.b64decode(video.partition(",")[2]).decode() for video in scene["videos"]]
        assert found == [f"video of {key['names'][place]} {number}" for place in order]
    shown = {name: value for name, value in data.items() if name != "key"}
    assert "old" not in json.dumps(shown) and "new" not in json.dumps(shown)
    assert data["scenes"][0]["script"] == ["A quay </script>.", "[SHOT CUT] Rain."]
    assert data["scenes"][1]["script"] == ["Character 1: A man.", "[SHOT CUT] Sun.", "Fog."]
    assert data["scenes"][2]["script"] == []


def test_only_scenes_of_all_sets_are_shown(tmp_path):
    flag = make_sets(tmp_path)
    shutil.rmtree(tmp_path / "new" / "scene_1")
    found = find_scenes(read_sets(flag))
    assert [scene.videos[0].parent.name for scene in found] == ["scene_0", "scene_2"]


def test_sets_that_cannot_be_compared_are_refused(tmp_path):
    flag = make_sets(tmp_path)
    for text, message in (
        (flag.split(",")[0], "--sets: found 1 sets, expected 2 to 10"),
        (f"{flag},joint", "--sets: found 'joint', expected NAME=FOLDER"),
        (f"{flag},{flag}", "--sets: found 'old' twice, expected different names"),
        (f"{flag},x={tmp_path / 'x'}", f"--sets: {tmp_path / 'x'}: no such folder"),
        (f"{flag},x=gs://b/x", "--sets: found 'gs://b/x', expected a path of this machine's file"),
    ):
        with pytest.raises(InputError, match=re.escape(message)):
            read_sets(text)
    for folder in (tmp_path / "new").iterdir():
        folder.rename(folder.with_name(f"{folder.name}_other"))
    with pytest.raises(InputError, match="found no scene that all sets have"):
        find_scenes(read_sets(flag))


@pytest.mark.programs
@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_a_browser_counts_rankings_by_set(tmp_path):
    """Whoever always prefers the left video prefers each set as often as it lies there."""
    page = write_page(tmp_path, videos=True)
    orders = json.loads(base64.b64decode(read_data(page)["key"]))["orders"]
    file = tmp_path / "page.html"
    file.write_text(page.replace("</html>", RANK_THE_LEFT_FIRST))
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000"]
    command = [
        "chromium",
        *options,
        f"--user-data-dir={tmp_path / 'user'}",
        "--dump-dom",
        file.as_uri(),
    ]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
    left = [order[0] for order in orders]
    share = {"old": left.count(0) / 3, "new": left.count(1) / 3}
    assert "1 person, 3 scenes" in shown
    for question in QUESTIONS:
        (table,) = re.findall(rf"<table><thead><tr><th>{re.escape(question)}.*?</table>", shown)
        rows = re.findall(
            r"<td>(\w+)</td><td>([\d.]+)</td><td>([\d.]+)</td><td>([\d.]+)</td>", table
        )
        assert {row[0]: row[1:] for row in rows} == {
            name: (f"{2 - first:.2f}", f"{first:.2f}", f"{first:.2f}")
            for name, first in share.items()
        }
        assert rows[0][0] == max(share, key=share.get)
