"""A pipeline in the layout in which Wan is published, with random weights of tiny sizes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.numpy import save_file
from scenes import TINY_WAN, randomise
from shared_folder import make_once
from t5_files import write_folder as write_text_encoder
from test_wan_vae import CONFIG as VAE
from test_wan_vae import draw_tensors

from lct_jax.backbones.load import save_published
from lct_jax.backbones.registry import build_abstract
from lct_jax.codecs.wan_network import WanConfig as VAEConfig
from lct_jax.codecs.wan_vae import WanVAE
from lct_jax.config import NetworkConfig

# The widths of the tiny VAE's latents and of the tiny UMT5's tokens.
NETWORK = dataclasses.replace(
    TINY_WAN,
    backbone=dataclasses.replace(
        TINY_WAN.backbone, channels=VAE.z_dim, text_width=16, text_places=512
    ),
    layout=dataclasses.replace(TINY_WAN.layout, scene_span=256, shot_span=256, stride=2),
)
SHIFT = 3.0


def write_base(
    folder: Path,
    network: NetworkConfig = NETWORK,
    vae: VAEConfig = VAE,
    version: Mapping[str, Any] = WanVAE.version,
) -> None:
    """Writes network, VAE, text encoder, tokenizer and scheduler, as diffusers saves a pipeline."""
    params = randomise(build_abstract(network).params)
    save_published(folder / "transformer", params, network)
    (folder / "vae").mkdir()
    save_file(draw_tensors(vae), folder / "vae/diffusion_pytorch_model.safetensors")
    config = {"_class_name": "AutoencoderKLWan", **dataclasses.asdict(vae), **version}
    (folder / "vae/config.json").write_text(json.dumps(config))
    (folder / "text_encoder").mkdir()
    write_text_encoder(folder / "text_encoder")
    (folder / "tokenizer").mkdir()
    (folder / "text_encoder/tokenizer.json").rename(folder / "tokenizer/tokenizer.json")
    (folder / "scheduler").mkdir()
    scheduler = {"_class_name": "UniPCMultistepScheduler", "flow_shift": SHIFT}
    (folder / "scheduler/scheduler_config.json").write_text(json.dumps(scheduler))
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "WanPipeline"}))


def shared_base() -> Path:
    """Returns the pipeline, written once a session."""
    return make_once("base", write_base)
