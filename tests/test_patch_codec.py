"""Tests the patch codec: one basis for stills and moving blocks, the quality of its channels, and bounded memory."""

from __future__ import annotations

import time
import tracemalloc
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from lct_jax.codecs.patch import BLOCK, PatchCodec, fit_patch_codec
from lct_jax.codecs.protocol import VideoCodec
from lct_jax.errors import InputError


def film(frames: int, height: int, width: int, *, seed: int = 0) -> np.ndarray:
    """Returns a smooth moving picture with some grain: uint8 [frames, height, width, 3]."""
    rng = np.random.default_rng(seed)
    t, x, y, c = np.meshgrid(*map(np.arange, (frames, height, width, 3)), indexing="ij")
    speed, phase = rng.uniform(0.2, 0.6, 3), rng.uniform(0, 6, 3)
    waves = np.sin(x / 7 + speed[0] * t + phase[c]) + np.cos(y / 11 - speed[1] * t)
    return np.clip(127 + 50 * waves + rng.normal(0, 3, t.shape), 0, 255).astype(np.uint8)


def measure_psnr(codec: PatchCodec, video: np.ndarray) -> float:
    error = codec.decode(codec.encode(video)).astype(float) - video
    return float(10 * np.log10(255**2 / np.mean(error**2)))


@pytest.fixture(scope="module")
def videos() -> list[np.ndarray]:
    return [film(9, 32, 48, seed=seed) for seed in range(4)]


@pytest.fixture(scope="module")
def whole(videos) -> PatchCodec:
    return fit_patch_codec(videos, channels=48)


@pytest.fixture(scope="module")
def codec(videos) -> PatchCodec:
    return fit_patch_codec(videos, channels=16)


def keep(codec: PatchCodec, channels: int) -> PatchCodec:
    """Returns a codec with the strongest components of another one."""
    return PatchCodec(
        mean=codec.mean, basis=codec.basis[:, :channels], scale=codec.scale[:channels]
    )


def test_shapes_are_those_of_the_protocol(codec):
    assert isinstance(codec, VideoCodec)
    assert (codec.stride, codec.channels) == ((4, 8, 8), 16)
    latent = codec.encode(film(9, 32, 48))
    assert (latent.shape, latent.dtype) == ((3, 4, 6, 16), np.float32)
    video = codec.decode(latent)
    assert (video.shape, video.dtype) == ((9, 32, 48, 3), np.uint8)


def find_threads() -> set[int]:
    """Returns the numbers of threads by which numpy multiplies matrices now."""
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


SEEN: list[set[int]] = []  # by each product of a `Watching`


class Watching(np.ndarray):
    """A matrix that notes by how many threads it is multiplied."""

    def __array_ufunc__(self, ufunc, method, *inputs, **settings):
        SEEN.append(find_threads())
        plain = [x.view(np.ndarray) if isinstance(x, Watching) else x for x in inputs]
        return getattr(ufunc, method)(*plain, **settings)


def test_blocks_are_multiplied_by_one_thread_and_other_products_by_as_many_as_before(codec):
    watched = keep(codec, 16)
    watched.basis = watched.basis.view(Watching)
    SEEN.clear()
    with threadpool_limits(limits=2, user_api="blas"):
        watched.decode(watched.encode(film(9, 32, 48)))
        assert [{1}, {1}] == SEEN
        assert find_threads() == {2}


class Waiting(Watching):
    """A matrix whose products take a while: the first one less than the second, so that they end in the order in which
    they began."""

    waits: Iterator[float]

    def __array_ufunc__(self, ufunc, method, *inputs, **settings):
        time.sleep(next(Waiting.waits))
        return super().__array_ufunc__(ufunc, method, *inputs, **settings)


def test_callers_at_once_leave_as_many_threads_behind_as_there_were(codec):
    """With threadpoolctl before 3.8 the second caller restored what the first one had set: one thread."""
    waiting, video = keep(codec, 16), film(9, 32, 48)
    waiting.basis = waiting.basis.view(Waiting)
    Waiting.waits = iter([0.2, 0.4])
    with threadpool_limits(limits=2, user_api="blas"), ThreadPoolExecutor(2) as pool:
        first = pool.submit(waiting.encode, video)
        time.sleep(0.1)
        second = pool.submit(waiting.encode, video)
        np.testing.assert_array_equal(first.result(), second.result())
        assert find_threads() == {2}


def test_the_first_frame_stands_alone(codec):
    video = film(9, 32, 48)
    np.testing.assert_array_equal(codec.encode(video)[:1], codec.encode(video[:1]))
    changed = np.concatenate([video[:1], film(8, 32, 48, seed=7)])
    np.testing.assert_array_equal(codec.encode(changed)[0], codec.encode(video)[0])
    assert np.abs(codec.encode(changed)[1] - codec.encode(video)[1]).max() > 0.1


def test_stills_and_blocks_that_do_not_move_are_coded_alike(codec):
    still = np.repeat(film(1, 32, 48), 9, axis=0)
    latent = codec.encode(still)
    np.testing.assert_array_equal(latent[0], latent[1])
    np.testing.assert_array_equal(latent[0], latent[2])
    video = codec.decode(latent)
    np.testing.assert_allclose(video[0].astype(int), video[1:].astype(int).mean(0), atol=1)


def test_latents_are_centred_and_their_mean_square_is_1(codec, videos):
    latents = np.concatenate([codec.encode(video).reshape(-1, 16) for video in videos])
    np.testing.assert_allclose(latents.mean(axis=0), 0, atol=1e-4)
    assert np.square(latents).mean() == pytest.approx(1, abs=1e-3)
    spread = latents.std(axis=0)
    assert (np.diff(spread) <= 1e-4).all()  # strong components first, and not whitened
    assert spread[0] > 2 * spread[-1]


def test_more_channels_are_better_pictures(whole, codec, videos):
    quality = [measure_psnr(keep(whole, channels), videos[0]) for channels in (3, 12, 48)]
    assert quality[0] + 1 < quality[1]
    assert quality[1] + 1 < quality[2]
    # The first components do not depend on the others.
    fewer = measure_psnr(keep(whole, 16), videos[0])
    assert fewer == pytest.approx(measure_psnr(codec, videos[0]), abs=0.01)


def test_footage_in_the_span_of_the_basis_is_reconstructed_exactly():
    """Blocks of one colour each have three dimensions."""
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (1, 4, 6, 3), np.uint8)
    video = colours.repeat(9, axis=0).repeat(8, axis=1).repeat(8, axis=2)
    codec = fit_patch_codec([video], channels=3)
    np.testing.assert_array_equal(codec.decode(codec.encode(video)), video)
    assert measure_psnr(keep(codec, 2), video) < 30


def test_a_saved_codec_is_the_same_codec(codec, tmp_path):
    codec.save(tmp_path / "codec.safetensors")
    loaded = PatchCodec.load(tmp_path / "codec.safetensors", channels=16)
    assert loaded.identity == codec.identity
    assert codec.identity.startswith("patch-4x8x8x16:sha256:")
    video = film(5, 16, 16)
    np.testing.assert_array_equal(loaded.encode(video), codec.encode(video))
    np.testing.assert_array_equal(
        loaded.decode(codec.encode(video)), codec.decode(codec.encode(video))
    )


def test_a_codec_of_other_channels_is_refused(codec, tmp_path):
    path = tmp_path / "codec.safetensors"
    codec.save(path)
    with pytest.raises(InputError) as caught:
        PatchCodec.load(path, channels=8)
    assert str(caught.value).startswith(f"{path}: tensors differ from what is expected")
    assert "basis (768, 16) instead of (768, 8)" in str(caught.value)


def test_the_same_footage_gives_the_same_codec_whatever_signs_the_solver_picks(
    codec, videos, monkeypatch
):
    solve = np.linalg.eigh
    signs = np.where(np.arange(BLOCK) % 2, 1.0, -1.0)
    monkeypatch.setattr(np.linalg, "eigh", lambda matrix: _flip(solve(matrix), signs))
    assert fit_patch_codec(iter(videos), channels=16).identity == codec.identity


def _flip(
    solved: tuple[np.ndarray, np.ndarray], signs: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    return solved[0], solved[1] * signs


class Frames(np.ndarray):
    """Is an array that can be observed: its weak reference dies with its last reference."""


def watch(count: int, alive: list[int]) -> Iterator[np.ndarray]:
    """Yields videos and counts how many of the earlier ones are still in memory."""
    seen: list[weakref.ref] = []
    for seed in range(count):
        alive.append(sum(reference() is not None for reference in seen))
        video = film(9, 64, 96, seed=seed).view(Frames)
        seen.append(weakref.ref(video))
        yield video
        del video


def measure_peak(count: int) -> int:
    tracemalloc.start()
    fit_patch_codec(watch(count, []), channels=4)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_fitting_keeps_one_video_in_memory(monkeypatch):
    solved = np.arange(BLOCK, dtype=float), np.eye(BLOCK)
    monkeypatch.setattr(np.linalg, "eigh", lambda matrix: solved)
    alive: list[int] = []
    fit_patch_codec(watch(5, alive), channels=4)
    assert len(alive) == 5
    assert max(alive) <= 1
    assert measure_peak(24) < 1.1 * measure_peak(4)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((8, 32, 48, 3), "video: found 8 frames, expected 4n + 1"),
        ((9, 30, 48, 3), "video: found 30x48 pixels, expected multiples of 8"),
        ((9, 32, 44, 3), "video: found 32x44 pixels, expected multiples of 8"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(codec, shape, message):
    for use in (codec.encode, lambda video: fit_patch_codec([video], channels=4)):
        with pytest.raises(InputError) as caught:
            use(np.zeros(shape, np.uint8))
        assert str(caught.value) == message


@pytest.mark.parametrize("channels", [0, 769])
def test_channels_a_block_does_not_have_are_refused(channels):
    with pytest.raises(InputError, match=f"backbone.channels: found {channels}, expected 1 to 768"):
        fit_patch_codec([film(1, 8, 8)], channels=channels)


def test_fitting_without_a_video_is_refused():
    with pytest.raises(InputError, match="found no video to fit to, expected at least one"):
        fit_patch_codec([], channels=4)
