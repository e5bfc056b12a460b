"""Makes the Wan 2.1 video VAE a codec: reads published weights, and scales latents for the diffusion model.

Weights are read from a folder in diffusers' layout (`config.json`, `diffusion_pytorch_model.safetensors`), from one
file of the published weights alone (`wan_single_file.py`), or from the one that `save` writes. A video is processed in
chunks, its first frame alone and then four frames (one latent frame) at a time, so memory does not grow with its
length. Inside `jax.set_mesh(mesh)` the rows or columns of each frame are spread over the mesh. `wan22_vae.py` is the
same for Wan 2.2.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from lct_jax.codecs import wan_single_file
from lct_jax.codecs.causal_conv import Past
from lct_jax.codecs.chunks import frame_starts, iter_chunks, make_step
from lct_jax.codecs.pixels import check_video, to_bytes, to_floats
from lct_jax.codecs.tiling import Tiling, apply_in_tiles
from lct_jax.codecs.wan_network import WanConfig, WanNetwork
from lct_jax.errors import InputError
from lct_jax.tensors import (
    find_shards,
    iter_tensors,
    name_leaves,
    read_config,
    read_metadata,
    save_tensors,
)

# The published config must have these values, whatever the version.
_FIXED = {"_class_name": "AutoencoderKLWan", "attn_scales": []}
# What it says of Wan 2.1; a config from before there was another version says nothing.
FIRST = {"is_residual": False, "patch_size": None, "in_channels": 3, "out_channels": 3}


class WanVAE:
    """Holds a loaded VAE; satisfies `VideoCodec`.

    Args:
        config: sizes and latent statistics. tensors: the weights by published name. dtype: the dtype to compute in.
        tiling: rows and columns of tiles; None processes the whole frame at once.

    Attributes:
        kind: the name of the codec. version: values of the published config that tell its version from others.
        published: the config of the published weights, for a file of them without any.
    """

    kind: ClassVar[str] = "wan_vae"
    stride: ClassVar[tuple[int, int, int]] = (4, 8, 8)
    version: ClassVar[Mapping[str, Any]] = FIRST
    published: ClassVar[WanConfig] = wan_single_file.PUBLISHED

    def __init__(
        self,
        config: WanConfig,
        tensors: dict[str, np.ndarray],
        *,
        dtype: str = "float32",
        tiling: Tiling | None = None,
    ) -> None:
        self._config, self._tensors, self._tiling = config, tensors, tiling
        self.channels = config.z_dim
        sizes = "x".join(map(str, (*self.stride, config.z_dim)))
        self.identity = f"wan-vae-{sizes}:sha256:{_hash(config, tensors)[:16]}"
        self._mean, self._std = (
            np.asarray(values, np.float32) for values in (config.latents_mean, config.latents_std)
        )
        graph, params = fill_network(config, tensors)

        def encode(network: WanNetwork, video: jax.Array, past: Past) -> jax.Array:
            return network.encode(video.astype(dtype), past)[0].astype("float32")

        def decode(network: WanNetwork, latent: jax.Array, past: Past) -> jax.Array:
            return network.decode(latent.astype(dtype), past).astype("float32")

        self._encode, self._decode = (make_step(graph, params, f) for f in (encode, decode))

    def encode(self, video_TXYc: np.ndarray) -> np.ndarray:
        """Encodes uint8 [4n+1, height, width, 3] to float32 [n+1, X, Y, channels], the posterior's mean; X and Y are
        height and width over the stride."""
        video = to_floats(check_video(video_TXYc, self.stride))
        mean = self._tiled(self.encode_floats, video, self.stride[1], 1)
        return (mean - self._mean) / self._std

    def decode(self, latent_TXYC: np.ndarray) -> np.ndarray:
        """Decodes float32 [T, X, Y, channels] to uint8 [4T-3, height, width, 3]."""
        latent = np.asarray(latent_TXYC, np.float32) * self._std + self._mean
        return to_bytes(self._tiled(self.decode_floats, latent, 1, self.stride[1]))

    def save(self, path: Path) -> None:
        """Writes the published tensors with their config in the header."""
        config = json.dumps(dataclasses.asdict(self._config))
        save_tensors(path, self._tensors, {"codec": self.kind, "config": config})

    @classmethod
    def load(
        cls, path: Path, *, channels: int, dtype: str = "float32", tiling: Tiling | None = None
    ) -> WanVAE:
        """Reads a published folder, one published file, or a file that `save` wrote.

        Raises:
            InputError: config, channels, names, shapes or dtypes are not the expected ones.
        """
        alone = path.is_file() and "codec" not in read_metadata(path)
        if path.is_dir():
            config, files = read_published(path, cls.version)
        else:
            config, files = cls.published if alone else read_saved(path, cls.kind), [path]
        if config.z_dim != channels:
            raise InputError(f"{path}: found {config.z_dim} channels, expected {channels}")
        shapes = published_shapes(config)
        if alone:
            tensors = wan_single_file.read_tensors(path, shapes, config)
        else:
            tensors = dict(iter_tensors(files, shapes=shapes, dropped={}))
        return cls(config, tensors, dtype=dtype, tiling=tiling)

    def _tiled(self, apply: Any, x: np.ndarray, unit_in: int, unit_out: int) -> np.ndarray:
        if self._tiling is None:
            return apply(x)
        return apply_in_tiles(apply, x, self._tiling, unit_in=unit_in, unit_out=unit_out)

    def encode_floats(self, video: np.ndarray) -> np.ndarray:
        """Encodes frames [T rows columns 3] in -1..1 to the posterior's mean, not normalised: float32 [T X Y c]."""
        starts = frame_starts(len(video), self.stride[0])
        return np.concatenate(list(iter_chunks(self._encode, video, starts)))

    def decode_floats(self, latent: np.ndarray) -> np.ndarray:
        """Decodes latents that are not normalised to frames in -1..1: float32 [T rows columns 3]."""
        starts = frame_starts(len(latent), 1)
        return np.concatenate(list(iter_chunks(self._decode, latent, starts)))


CODEC = WanVAE


def abstract_network(config: WanConfig) -> tuple[nnx.GraphDef, nnx.State]:
    """Returns the network's graph and the shapes of its parameters."""
    return nnx.split(nnx.eval_shape(lambda: WanNetwork(config, rngs=nnx.Rngs(0))))


def read_published(folder: Path, version: Mapping[str, Any]) -> tuple[WanConfig, list[Path]]:
    """Returns the config and the weights' files of a folder in diffusers' layout.

    Raises:
        InputError: the config is not of this architecture, or not of the `version` with these values.
    """
    values = read_config(folder / "config.json")
    for field, expected in {**_FIXED, **version}.items():
        found = values.get(field, FIRST.get(field, expected))
        if found != expected:
            hint = " (prepare.codec is wan_vae for Wan 2.1, wan22_vae for Wan 2.2)"
            raise InputError(
                f"{folder / 'config.json'}: {field}: found {found!r}, expected {expected!r}"
                f"{hint if field in version else ''}"
            )
    return _build(values, folder / "config.json"), find_shards(folder, "diffusion_pytorch_model")


def read_saved(path: Path, kind: str) -> WanConfig:
    """Returns the config in the header of a file that the codec of a `kind` saved."""
    metadata = read_metadata(path)
    if metadata.get("codec") != kind:
        raise InputError(f"{path}: found codec {metadata.get('codec')!r}, expected {kind!r}")
    return _build(json.loads(metadata["config"]), path)


def published_shapes(config: WanConfig) -> dict[str, tuple[int, ...]]:
    """Returns names and shapes of the published tensors."""
    leaves = name_leaves(abstract_network(config)[1])
    return {publish(name): _published_shape(name, leaf.shape) for name, leaf in leaves.items()}


def publish(name: str) -> str:
    """Returns the published name of a parameter, with PyTorch's words and the index of a convolution after an
    enlargement."""
    name = name.replace(".resample.", ".resample.1.")
    for ours, theirs in (("kernel", "weight"), ("scale", "gamma")):
        name = name.removesuffix(ours) + theirs if name.endswith(f".{ours}") else name
    return name


def fill_network(
    config: WanConfig, tensors: dict[str, np.ndarray]
) -> tuple[nnx.GraphDef, nnx.State]:
    """Returns the network's graph and its parameters from published tensors."""
    graph, shapes = abstract_network(config)
    leaves = [_convert(tensors[publish(n)], leaf) for n, leaf in name_leaves(shapes).items()]
    return graph, jax.tree.unflatten(jax.tree.structure(shapes), leaves)


def _convert(tensor: np.ndarray, leaf: jax.ShapeDtypeStruct) -> jax.Array:
    # PyTorch keeps [out, in, t, x, y], and this project [t, x, y, in, out].
    if tensor.ndim == len(leaf.shape) and tensor.ndim > 1:
        tensor = np.moveaxis(tensor, (0, 1), (-1, -2))
    return jnp.asarray(tensor, jnp.float32).reshape(leaf.shape)


def _published_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    if name.endswith("kernel"):
        return (shape[-1], shape[-2], *shape[:-2])
    # Scales are kept in a shape that multiplies frames or videos.
    if name.endswith("scale"):
        return (*shape, *(1,) * (2 if ".attentions." in name else 3))
    return shape


def _build(values: dict[str, Any], where: Path) -> WanConfig:
    known = {field.name for field in dataclasses.fields(WanConfig)}
    chosen = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k in known}
    config = WanConfig(**chosen)
    for field in ("latents_mean", "latents_std"):
        found = len(getattr(config, field))
        if found != config.z_dim:
            raise InputError(f"{where}: {field}: found {found} numbers, expected {config.z_dim}")
    return config


def _hash(config: WanConfig, tensors: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(repr((config.latents_mean, config.latents_std)).encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensors[name]).tobytes())
    return digest.hexdigest()
