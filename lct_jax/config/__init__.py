"""Holds every setting of a run in frozen, checked sections, one file each, and converts them to and from flags.

A file under `configs/` returns `editable(Config(...))`, which absl flags may change field by field; `freeze` turns the
result back into a checked `Config`. Where the paper is silent, our decision stands in a section as the default and
nowhere else. [P] is the LCT paper (arXiv 2503.10589), [S] its supplement, [D] our decision.

    backbone   what the weights are, by family        data       which samples are drawn, and how they are packed
    layout     where tokens sit, who sees prompts     training   optimiser and loop
    compute    precision, kernels, devices            sampling   how scenes are sampled
    lora       which matrices are trained instead     prepare, footage, chat   how films become records
    flow       diffusion times
"""

from typing import Any

from lct_jax.config.backbone import BackboneConfig, DualStreamConfig, TextPlace, WanConfig
from lct_jax.config.chat import ChatConfig
from lct_jax.config.compute import ComputeConfig, Context, Kernel
from lct_jax.config.data import DataConfig
from lct_jax.config.experiment import Config, editable, freeze, read_beside
from lct_jax.config.flow import FlowConfig
from lct_jax.config.footage import FootageConfig
from lct_jax.config.layout import LayoutConfig
from lct_jax.config.lora import LoraConfig
from lct_jax.config.network import NetworkConfig
from lct_jax.config.prepare import PrepareConfig
from lct_jax.config.sampling import KVDtype, Mode, SamplingConfig
from lct_jax.config.training import TrainingConfig

__all__ = [
    "BackboneConfig",
    "ChatConfig",
    "ComputeConfig",
    "Config",
    "Context",
    "DataConfig",
    "DualStreamConfig",
    "FlowConfig",
    "FootageConfig",
    "KVDtype",
    "Kernel",
    "LayoutConfig",
    "LoraConfig",
    "Mode",
    "NetworkConfig",
    "PrepareConfig",
    "SamplingConfig",
    "TextPlace",
    "TrainingConfig",
    "WanConfig",
    "editable",
    "freeze",
    "read_beside",
]


def __getattr__(name: str) -> Any:
    if name == "ModelConfig":
        raise ImportError(
            "lct_jax.config has no ModelConfig any more: its fields are in DualStreamConfig (Config.backbone), "
            "LayoutConfig (Config.layout) and ComputeConfig (Config.compute)"
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
