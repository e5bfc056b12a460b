"""How fast a run is: rates of useful and of computed work, and their share of the chips' peak.

`Throughput.rate` turns the work of some steps and their seconds into rates by name. Model FLOPs utilisation (MFU) is a
rate over the published peak of all chips: strictly, of useful work; of computed work, it is hardware utilisation.
"""

from __future__ import annotations

from collections.abc import Sequence

from jax.sharding import Mesh

from lct_jax.config import Config
from lct_jax.costs.chips import CHIPS, Chip
from lct_jax.costs.flops import Costs
from lct_jax.costs.step import GroupSizes, Program, Work, count_work, make_program

# The chip of each `device_kind` of JAX; other devices have no peak here.
DEVICE_KINDS = {
    "TPU v5 lite": "v5e",
    "TPU v5e": "v5e",
    "TPU v5": "v5p",
    "TPU v5p": "v5p",
    "TPU v6 lite": "v6e",
    "TPU v6e": "v6e",
    "TPU7": "tpu7x",
    "TPU7x": "tpu7x",
    "NVIDIA A100-SXM4-80GB": "a100",
    "NVIDIA A100-SXM4-40GB": "a100-40",
    "NVIDIA A100-PCIE-40GB": "a100-40",
    "NVIDIA H100 80GB HBM3": "h100",
    "NVIDIA H100 NVL": "h100-nvl",
    "NVIDIA H100 PCIe": "h100-pcie",
    "NVIDIA H800": "h800",
    "NVIDIA H200": "h200",
    "NVIDIA B200": "b200",
}


def find_chip(device_kind: str) -> Chip | None:
    """Returns the chip of a JAX device kind; None for a CPU, and where no published peak is known."""
    return CHIPS.get(DEVICE_KINDS.get(device_kind, ""))


def make_throughput(config: Config, costs: Costs, mesh: Mesh) -> Throughput:
    """Returns the throughput of a run on a mesh; `costs` are those of its network."""
    device = mesh.devices.flat[0]
    program = make_program(config, costs, platform=device.platform, data_shards=mesh.shape["data"])
    chip = find_chip(device.device_kind)
    return Throughput(config, program, devices=mesh.size, chip=chip)


class Throughput:
    """Counts and rates the steps of one config on some devices.

    Args:
        config: the run's config.
        program: what decides the computed work of its step.
        devices: the number of devices in the mesh.
        chip: the chip that they are; None where no peak is published.
    """

    def __init__(
        self, config: Config, program: Program, *, devices: int, chip: Chip | None
    ) -> None:
        self.config, self.program = config, program
        self.peak = None if chip is None else devices * chip.flops / chip.devices

    def count(self, sizes: GroupSizes) -> Work:
        """Returns the work of one step."""
        return count_work(sizes, self.config, self.program)

    def rate(self, works: Sequence[Work], seconds: float) -> dict[str, float]:
        """Returns the rates of steps that together took so many seconds, by name."""
        useful = sum(work.useful for work in works) / seconds
        computed = sum(work.computed for work in works) / seconds
        rates = {
            "steps_per_second": len(works) / seconds,
            "tokens_per_second": sum(work.tokens for work in works) / seconds,
            "useful_flops_per_second": useful,
            "computed_flops_per_second": computed,
        }
        if self.peak is not None:
            rates |= {"useful_mfu": useful / self.peak, "computed_mfu": computed / self.peak}
        return rates
