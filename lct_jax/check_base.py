"""Checks the folder of a published pipeline as a base, and writes the settings with which it is tuned on scenes.

    python -m lct_jax.check_base --base=DIR [--config=FILE] [--topology=v5e:2x4] [--out=DIR2]

Config, names, shapes and dtypes of the network, the VAE and the tokenizer are read; of the large files headers alone.
`--out` gets `config.json`, which `--config` of every program takes, and `base.json`, which says which base it was and
for which chips the settings are: those of `--topology`, or those that this runs on. Without `--config` the settings are
those of the base's family (docs/bases.md). A config.json that is there is kept, so that it may be edited.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path

import jax
from absl import flags

from lct_jax.backbones.load import list_places
from lct_jax.backbones.pipeline import check_weights, find_distilled, find_pipeline, read_pipeline
from lct_jax.cli import define_path, load_config, run
from lct_jax.codecs.registry import import_codec
from lct_jax.config import Config, freeze
from lct_jax.costs.chips import CHIPS
from lct_jax.encoders.registry import load_counter
from lct_jax.errors import InputError
from lct_jax.files import replace_atomically
from lct_jax.plan.topology import parse_topology
from lct_jax.training.report.throughput import DEVICE_KINDS

CONFIG_FILE, BASE_FILE = "config.json", "base.json"


def choose_config(base: Path, given: str | None, *, devices: int) -> Config:
    """Returns the config to tune with: the family's on so many devices, or a given one, with the base's files in it.

    Single shots are drawn from scenes, too: one set of footage is what a base is tuned on.

    Raises:
        InputError: the base or the given config cannot be read, or they are of different networks.
    """
    own = read_pipeline(base)
    # One set of footage gives scenes and single shots.
    share = lambda config: dataclasses.replace(config.data, singles_from_scenes=True)
    if given is None:
        return divide(dataclasses.replace(own, data=share(own)), devices=devices)
    config = freeze(load_config(given))
    for field in dataclasses.fields(own.backbone):
        found, expected = (getattr(c.backbone, field.name, None) for c in (config, own))
        if found != expected:
            raise InputError(
                f"{given}: backbone.{field.name}: found {found!r}, expected {expected!r} of {base}"
            )
    prepare, training = config.prepare, config.training
    return dataclasses.replace(
        config,
        data=share(config),
        prepare=dataclasses.replace(
            prepare,
            codec_from=prepare.codec_from or own.prepare.codec_from,
            encoder_from=prepare.encoder_from or own.prepare.encoder_from,
        ),
        training=dataclasses.replace(training, init_from=own.training.init_from),
    )


def divide(config: Config, *, devices: int) -> Config:
    """Returns a config on so many devices: tokens over as many as heads divide by, up to eight, rows over the rest.

    A batch has at least the rows of the config, in micro-batches where there are fewer groups of devices.
    """
    seq = math.gcd(devices, config.backbone.heads, 8)
    groups = devices // seq
    rows = groups * math.ceil(config.data.rows / groups)
    return dataclasses.replace(
        config,
        compute=dataclasses.replace(config.compute, seq_shards=seq),
        data=dataclasses.replace(config.data, rows=rows),
        training=dataclasses.replace(config.training, accumulate=rows // groups),
    )


def name_topology(devices: Sequence[jax.Device]) -> str:
    """Returns the name of devices for `lct_jax.plan`, such as "v5e:2x4" or "h100:8"; "" where they have no plan."""
    kind = DEVICE_KINDS.get(devices[0].device_kind)
    if devices[0].platform == "cpu":
        return f"cpu:{len(devices)}"
    if kind is None:
        return ""
    chip = CHIPS[kind]
    if not chip.torus:
        return f"{kind}:{len(devices)}"
    # A slice reaches from the origin to the largest coordinates; a chip of several devices has one place.
    sides = [max(device.coords[axis] for device in devices) + 1 for axis in range(chip.torus)]
    return f"{kind}:{'x'.join(map(str, sides))}"


def write_config(folder: Path, config: Config, base: dict[str, str]) -> None:
    """Writes `config.json`, unless it is there, and `base.json`.

    Raises:
        InputError: the folder has those of another base, or of a config of another network.
    """
    path, about = folder / CONFIG_FILE, folder / BASE_FILE
    if about.exists():
        before = json.loads(about.read_text())["base"]
        if before != base["base"]:
            raise InputError(
                f"{about}: made from base {before}, found {base['base']}, expected the same, or another folder"
            )
    if path.exists():
        kept = freeze(load_config(str(path)))
        if kept.backbone != config.backbone:
            raise InputError(
                f"{path}: backbone: not that of the base, expected the file as it was written, or none"
            )
    else:
        _write_json(path, dataclasses.asdict(config))
    _write_json(about, base)


def _write_json(path: Path, values: dict[str, object]) -> None:
    with replace_atomically(path) as unfinished:
        unfinished.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def describe(config: Config, identity: str, codec: str, topology: str) -> str:
    """Returns a table of a base and of how it is used."""
    places, prepare, sampling = list_places(config.network), config.prepare, config.sampling
    count = sum(math.prod(place.shape) for place in places.values())
    rows = {
        "network": f"{config.backbone.family}, {count / 1e9:,.3f} billion parameters in {len(places)} tensors, "
        f"{identity}",
        "codec": codec,
        "encoder": f"{prepare.encoder} in {prepare.encoder_from}, tokenizer read",
        "used with": f"{prepare.fps:g} fps, at most {prepare.max_frames} frames of {prepare.width}x{prepare.height}, "
        f"shift {sampling.shift:g}, guidance {sampling.guidance:g}",
        "chips": topology or "none that are known",
    }
    return "\n".join(f"  {name:12s} {text}" for name, text in rows.items())


def main(argv: Sequence[str]) -> None:
    del argv
    base, topology = Path(BASE.value), TOPOLOGY.value
    devices = jax.device_count() if topology is None else parse_topology(topology).devices
    config = choose_config(base, CONFIG.value, devices=devices)
    identity, prepare = check_weights(base, config.network), config.prepare
    codec = import_codec(
        prepare.codec, Path(prepare.codec_from), channels=config.backbone.channels
    ).identity
    load_counter(
        prepare.encoder, width=config.backbone.text_width, folder=prepare.encoder_from
    ).count("")
    topology = name_topology(jax.devices()) if topology is None else topology
    print(f"{find_pipeline(base)}\n{describe(config, identity, codec, topology)}")
    for warning in find_distilled(base):
        print(f"warning: {warning}")
    if OUT.value is not None:
        write_config(Path(OUT.value), config, {"base": identity, "topology": topology})


if __name__ == "__main__":
    # The flags are not defined at the top, because a program or test that imports this has flags of its own.
    BASE = define_path("base", "Folder of the published pipeline.", required=True)
    CONFIG = define_path("config", "Config to tune with; default: that of the base's family.")
    OUT = define_path("out", "Folder for config.json and base.json.")
    TOPOLOGY = flags.DEFINE_string("topology", None, "Chips to tune on; default: those found here.")
    run(main)
