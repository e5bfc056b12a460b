"""The versions that a checkpoint stores, and the line that names later changes."""

import jax
import pytest

from lct_jax import versions
from lct_jax.versions import compare_versions, read_versions

END = ": steps may differ in their last bits from those of before"


def test_versions_are_those_that_are_installed(monkeypatch):
    assert read_versions()["jax"] == jax.__version__
    monkeypatch.setattr(versions, "COMPILERS", ("pytest", "no-such-package"))
    found = read_versions()
    assert found["pytest"] == pytest.__version__ and "no-such-package" not in found


def test_versions_that_differ_are_one_line():
    before = {"python": "3.11.7", "jax": "0.10.2", "libtpu": "0.0.42"}
    now = {"python": "3.13.5", "jax": "0.10.2"}
    assert compare_versions(before, now) == (
        "python 3.13.5 instead of 3.11.7, libtpu absent instead of 0.0.42" + END
    )
    assert compare_versions(now, {**now, "jax": "0.12.0.1"}) == (
        "jax 0.12.0.1 instead of 0.10.2" + END
    )


@pytest.mark.parametrize("before", [{}, {"jax": "0.10.2"}])
def test_equal_or_unknown_versions_give_no_line(before):
    assert compare_versions(before, {"jax": "0.10.2"}) == ""
