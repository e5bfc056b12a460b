"""A session of shots: what was done is a script that samples the same latents, and changes make anew what saw them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from directed import TEXTS, both, changed, check_same, latents_of, make_session, sample
from PIL import Image
from tiny_generator import make_generator

from lct_jax.directing.prompts import Condition, GlobalPrompt, ShotPrompt
from lct_jax.directing.script import Script
from lct_jax.errors import InputError
from lct_jax.sampled_scene import FinishedShot, SampledScene


@both
def test_what_was_done_is_a_script_with_the_same_latents(mode):
    session = make_session(mode, TEXTS[:2])
    session.shot(TEXTS[2], cut=False, history=(1,))
    session.redo()
    session.edit(2, "A ship leaves.")
    session.shot(TEXTS[3], seed=5)
    shots = session.script.shots
    assert [shot.history for shot in shots] == [(), (1,), (1,), (1, 2, 3)]
    assert [shot.seed for shot in shots] == [None, None, 1, 5]
    assert [shot.text for shot in shots] == ["A wide quay.", "A ship leaves.", *TEXTS[2:]]
    check_same(latents_of(session), sample(session.script))


@both
@pytest.mark.parametrize(("number", "expected"), [(1, {1, 2, 4}), (2, {2}), (3, {3, 4}), (4, {4})])
def test_an_edit_makes_anew_exactly_what_saw_the_shot(mode, number, expected):
    session = make_session(mode, TEXTS[:2])
    session.shot(TEXTS[2], history=())
    session.shot(TEXTS[3], history=(1, 3))
    before = latents_of(session)
    passes = [] if mode == "autoregressive" else session._sampler.cached.cache.passes
    done = len(passes)
    made = session.edit(number, "Rain falls.")
    assert {shot.number + 1 for shot in made} == expected
    assert changed(session, before) == expected
    if mode == "causal":
        # An entry for each shot, numbered from 1 as shots are: no other one is computed again.
        assert passes[done:] == sorted(expected)
    assert session.undo()
    check_same(latents_of(session), before)


@both
def test_undo_goes_back_and_the_scene_goes_on_from_there(mode):
    session = make_session(mode, TEXTS[:2])
    first = latents_of(session)
    session.redo(1)
    session.edit(2, "Rain falls.")
    assert session.undo()
    assert session.undo()
    check_same(latents_of(session), first)
    session.redo(1)
    assert session.script.shots[0].seed == 2  # the take of seed 1 was undone
    session.undo()
    session.shot(TEXTS[2])
    check_same(latents_of(session), sample(session.script))
    assert [session.undo() for _ in range(4)] == [True, True, True, False]
    assert session.shots == []


@both
def test_what_all_shots_share_makes_all_anew(mode):
    session = make_session(mode, TEXTS[:2])
    before = latents_of(session)
    made = session.describe(story="A storm comes.", characters={"1": "A man in red."})
    assert [shot.number for shot in made] == [0, 1]
    assert changed(session, before) == {1, 2}
    assert session.script.prompt == GlobalPrompt(
        {"1": "A man in red."}, "A harbour.", "A storm comes."
    )
    session.shot("Character 1 waves.")
    check_same(latents_of(session), sample(session.script))


@both
def test_given_shots_are_seen_and_not_sampled(mode, tmp_path):
    Image.new("RGB", (48, 32), (200, 30, 30)).save(tmp_path / "red.png")
    session = make_session(mode)
    assert session.shot("A red wall.", given=Condition(str(tmp_path / "red.png"))) is None
    assert session.shot(TEXTS[0]).number == 1
    session.shot(TEXTS[1])
    check_same(latents_of(session), sample(session.script))
    with pytest.raises(InputError, match="shot 1: is given"):
        session.redo(1)


@both
def test_ctrl_c_during_a_shot_leaves_the_session_as_it_was(mode):
    session = make_session(mode, TEXTS[:1])
    before = latents_of(session)
    session._sampler.on_step = lambda: os.kill(os.getpid(), signal.SIGINT)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        session.shot(TEXTS[1])
    with pytest.raises(KeyboardInterrupt):
        session.edit(1, "Rain falls.")
    assert signal.getsignal(signal.SIGINT) is handler
    session._sampler.on_step = lambda: None
    check_same(latents_of(session), before)
    assert len(session.script.shots) == 1
    session.shot(TEXTS[1])
    check_same(latents_of(session), sample(session.script))


def test_ctrl_c_after_the_last_step_is_not_lost(monkeypatch):
    session = make_session("causal", TEXTS[:1])
    before, finish = latents_of(session), SampledScene.finish

    def stop(scene: SampledScene, number: int, tokens: np.ndarray) -> FinishedShot:
        os.kill(os.getpid(), signal.SIGINT)
        return finish(scene, number, tokens)

    monkeypatch.setattr(SampledScene, "finish", stop)
    with pytest.raises(KeyboardInterrupt):
        session.shot(TEXTS[1])
    monkeypatch.undo()
    check_same(latents_of(session), before)
    session.shot(TEXTS[1])
    check_same(latents_of(session), sample(session.script))


@pytest.mark.slow  # shots of two more sizes are compiled
def test_a_shot_goes_on_with_the_end_of_the_one_before():
    session = make_session("causal", TEXTS[:1])
    session.shot(TEXTS[1], cut=False, overlap=5, frames=9)
    session.redo(1)
    check_same(latents_of(session), sample(session.script))
    with pytest.raises(InputError, match="history: expected shot 2 in it"):
        session.shot(TEXTS[2], cut=False, overlap=5, history=(1,))
    with pytest.raises(InputError, match="shot 2: is given or has an overlap"):
        session.keep()


def test_a_shot_is_shown_in_a_notebook():
    session = make_session("causal", TEXTS[:1])
    html = session.shots[0]._repr_html_()
    assert html.startswith('<figure><video controls autoplay loop muted src="data:video/mp4;base64')
    assert "shot 1" in html


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda s: s.shot("Character 7 waves."), "shots[1].prompt: mentions 'Character 7'"),
        (lambda s: s.shot("Rain.", frames=6), "shots[1].frames: found 6, expected 4n+1"),
        (lambda s: s.shot("Rain.", history=(4,)), "shots[1].history[0]: found 4, expected an ear"),
        (lambda s: s.shot(" "), "shots[1].prompt: is empty"),
        (lambda s: s.edit(3, "Rain."), "found shot 3, and there are 1, expected the number of"),
        (lambda s: s.describe(environment=""), "environment: is empty"),
    ],
    ids=["nobody", "frames", "history", "prompt", "number", "nothing shared"],
)
def test_a_mistake_is_one_line_and_changes_nothing(act, said):
    session = make_session("causal", TEXTS[:1])
    script = session.script
    with pytest.raises(InputError) as caught:
        act(session)
    assert said in str(caught.value)
    assert session.script is script


def test_sessions_that_cannot_be_are_refused():
    full, prompt = make_generator("full"), GlobalPrompt({}, "A harbour.", "")
    with pytest.raises(InputError, match="expected autoregressive or causal"):
        full.session(Script(prompt, ()), mode="joint")
    with pytest.raises(InputError, match="expected 'causal'"):
        full.session(Script(prompt, (ShotPrompt("A quay."),)), mode="causal")
    with pytest.raises(InputError, match="environment: is empty, expected"):
        full.session().shot("A quay.")
    with pytest.raises(InputError, match="found no shots to save"):
        full.session().save(Path("nowhere"))
    assert not Path("nowhere").exists()
