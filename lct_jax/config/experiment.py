"""Joins all sections in one experiment, and converts it to and from flags, files and checkpoints."""

from __future__ import annotations

import dataclasses
import importlib.util
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from ml_collections import ConfigDict

from lct_jax.config.backbone import BackboneConfig, DualStreamConfig
from lct_jax.config.chat import ChatConfig
from lct_jax.config.compute import ComputeConfig
from lct_jax.config.data import DataConfig
from lct_jax.config.fields import build
from lct_jax.config.flow import FlowConfig
from lct_jax.config.footage import FootageConfig
from lct_jax.config.former import translate
from lct_jax.config.layout import LayoutConfig
from lct_jax.config.lora import LoraConfig
from lct_jax.config.network import NetworkConfig
from lct_jax.config.prepare import PrepareConfig
from lct_jax.config.sampling import SamplingConfig
from lct_jax.config.training import TrainingConfig
from lct_jax.errors import InputError

Settings = TypeVar("Settings")


@dataclass(frozen=True)
class Config:
    """Holds all sections of one experiment.

    Attributes:
        name: of the experiment. world: the world of labelled scenes that `lct_jax.puppets.prepare` draws for it, and
            that its weights are measured on by `lct_jax.evaluation.puppets`; other footage has none, and the name is
            not read.
    """

    name: str
    world: str = "puppets"
    footage: FootageConfig = field(default_factory=FootageConfig)
    chat: ChatConfig = field(default_factory=ChatConfig)
    prepare: PrepareConfig = field(default_factory=PrepareConfig)
    backbone: BackboneConfig = field(default_factory=DualStreamConfig)
    layout: LayoutConfig = field(default_factory=LayoutConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    lora: LoraConfig = field(default_factory=LoraConfig)
    flow: FlowConfig = field(default_factory=FlowConfig)
    data: DataConfig = field(default_factory=DataConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)

    def __post_init__(self) -> None:
        _ = self.network  # its checks concern several sections
        if self.data.rows % self.training.accumulate:
            raise InputError(
                f"training.accumulate: found {self.training.accumulate}, "
                f"expected a divisor of data.rows {self.data.rows}"
            )
        if self.lora.rank and self.training.optimizer != "adamw":
            raise InputError(
                f"training.optimizer: found {self.training.optimizer!r} with lora.rank {self.lora.rank}, expected "
                "'adamw': Muon takes whole matrices, and a LoRA has none"
            )

    @property
    def network(self) -> NetworkConfig:
        """Returns the sections that the network is built from."""
        return NetworkConfig(self.backbone, self.layout, self.compute, self.lora)


def editable(config: Any) -> ConfigDict:
    """Returns a Config, or other settings, as a typed ConfigDict, which flags can change field by field."""
    return ConfigDict(dataclasses.asdict(config))


def freeze(values: ConfigDict | dict[str, Any], kind: type[Settings] = Config) -> Settings:
    """Returns the checked Config of an edited ConfigDict, or of the JSON a checkpoint carries; or other settings.

    A config in the shape that it had before its section `model` was divided is read as well (`former.py`).

    Raises:
        InputError: a field that does not exist, is missing, or has a value out of its range.
    """
    values = values.to_dict() if isinstance(values, ConfigDict) else values
    return build(kind, translate(values) if kind is Config else values, path="config")


def read_beside(file: str | Path, name: str) -> ModuleType:
    """Returns the config NAME.py in the folder of a config `file`: configs are read by path and are in no package.

    Raises:
        FileNotFoundError: there is no such file.
    """
    spec = importlib.util.spec_from_file_location(name, Path(file).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
