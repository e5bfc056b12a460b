"""The socket for networks: what a family of backbones defines for the rest of the project.

A family is a folder `lct_jax/backbones/NAME/` whose `__init__.py` defines `FAMILY`, and a class in
`lct_jax/config/backbone.py` with `family: Literal["NAME"]`. No other part of the project names it. A conformance suite
(`tests/test_backbones.py`) tests that every family does what this module says.

One call serves training, sampling and caching:

    network(video, text, time_BS, context=..., history=None, keep=False) -> Prediction(velocity, kept)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import jax
from flax import nnx

from lct_jax.config import BackboneConfig, Config, Context, NetworkConfig
from lct_jax.costs.flops import Costs
from lct_jax.types import BackboneSpec, History, Prediction, Tokens, Visibility


class Backbone(Protocol):
    """A network that predicts the velocity of packed video tokens."""

    def __call__(
        self,
        video: Tokens,
        text: Tokens,
        time_BS: jax.Array,
        *,
        context: Context | Visibility,
        history: History | None = None,
        keep: bool = False,
    ) -> Prediction:
        """Predicts the velocity `noise - clean` of every video token.

        Tokens see each other as `lct_jax.attention.mask.visible` says, and nothing else about a scene reaches the
        network but their index.

        Args:
            video: noisy patches [B L C] and their index.
            text: encoder outputs [B L E] and their index.
            time_BS: float32, diffusion time of every group slot as the network is to see it (after any shift).
            context: "full" or "causal" over shots; or tables that say which shot sees which, for a pass without a
                history.
            history: cached keys that all tokens see besides each other; the batch then holds one group a row, and the
                pass is not differentiated.
            keep: whether the prediction carries the keys and values of the pass.

        Returns:
            A Prediction, whose velocity is float32[B L C].
        """
        ...


class PublishedName(NamedTuple):
    """The published tensor that a parameter of ours is read from.

    Attributes:
        name: the name of the published tensor; "{}" stands for the number of the layer.
        turn: how its axes are ordered: "same", or the name of a rule of the family's `Published.make_turns`.
    """

    name: str
    turn: str = "same"


class Turn(NamedTuple):
    """How the axes of a published tensor become ours (`load`), and back (`save`): numbers move and do not change.

    Both take NumPy arrays, and shapes under `jax.eval_shape`.
    """

    load: Callable[[Any], Any]
    save: Callable[[Any], Any]


class Published(NamedTuple):
    """The layout in which others publish weights of a family: a folder with config.json and safetensors.

    Attributes:
        class_names: what config.json may have under `_class_name`.
        stem: of the names of the safetensors files.
        refused: why a pipeline is refused whose model_index.json has a value under such a name.
        read_config: the values of config.json, and where they stand, to a config; InputError for another network.
        write_config: a config to the values of config.json.
        make_turns: the rules that `PublishedName.turn` names.
        chosen: fields of the config whose value, where there is one, no file says: a config chooses it.
        make_config: how a network is used and tuned: codec, encoder, frame rate, size, shift, guidance, without files.
        original: the ends of names in the files of the network's authors, by those of the published layers. Files of
            LoRAs use both.
    """

    class_names: tuple[str, ...]
    stem: str
    refused: Mapping[str, str]
    read_config: Callable[[Mapping[str, Any], str], BackboneConfig]
    write_config: Callable[[BackboneConfig], dict[str, Any]]
    make_turns: Callable[[BackboneConfig], Mapping[str, Turn]]
    make_config: Callable[[BackboneConfig], Config]
    original: Mapping[str, str]
    chosen: frozenset[str] = frozenset()


class Family(NamedTuple):
    """A family of networks.

    Attributes:
        build: returns a network with random parameters, from a NetworkConfig and `rngs`.
        describe: returns what data, sampling and cache need to know of it.
        count_costs: returns FLOPs and bytes of a forward pass.
        decays: returns whether AdamW's weight decay applies to the parameter at a path, given as names from the root.
        name_weights: returns the published name of every parameter, by its path joined with dots.
        published: the layout of weights that others publish; None if there are none.
    """

    build: Callable[..., nnx.Module]
    describe: Callable[[NetworkConfig], BackboneSpec]
    count_costs: Callable[[NetworkConfig], Costs]
    decays: Callable[[tuple[str, ...]], bool]
    name_weights: Callable[[NetworkConfig], Mapping[str, PublishedName]]
    published: Published | None = None


class Network(NamedTuple):
    """A network, split into its computation and its parameters.

    Attributes:
        graph: the static part, from `nnx.split`.
        params: the pytree of its parameters, as arrays or as shapes alone.
    """

    graph: nnx.GraphDef
    params: Any
