"""What training and sampling compute is what they computed when it was recorded."""

from __future__ import annotations

import json

import pytest
from record_bits import RECORDED, find_changes, measure, prepare_film
from shared_folder import make_once


@pytest.mark.slow
@pytest.mark.programs
def test_losses_and_latents_are_those_that_were_recorded(tmp_path):
    found = measure(tmp_path, make_once("whole_film", prepare_film))
    assert find_changes(found, json.loads(RECORDED.read_text()), to=1e-5) == []


def test_a_number_that_differs_or_is_gone_is_named():
    recorded = {"film_tiny": {"numbers": {"1/loss": 2.0, "2/loss": 1.0}}}
    found = {"film_tiny": {"numbers": {"1/loss": 2.00003}}}
    assert find_changes(found, recorded, to=1e-5) == [
        "film_tiny: 1/loss: found 2.00003, expected 2.0",
        "film_tiny: 2/loss: found None, expected 1.0",
    ]
    found["film_tiny"]["numbers"] = {"1/loss": 2.00001, "2/loss": 1.0}
    assert find_changes(found, recorded, to=1e-5) == []
