"""Makes actions of this project's training step: the step, its gradient, its linear work and its attention alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import nnx

from benchmarks.measuring import randomise
from benchmarks.step_cases import Case, make_batch
from benchmarks.turns import Action
from lct_jax import flow
from lct_jax.attention.attend import attend
from lct_jax.attention.mask import find_spans
from lct_jax.backbones.layers import project_tokens
from lct_jax.backbones.mmdit.blocks import StreamBlock
from lct_jax.backbones.registry import build, find_family
from lct_jax.config import FlowConfig, TrainingConfig
from lct_jax.tensors import save_tensors
from lct_jax.training.checkpoint.weights import name_leaves
from lct_jax.training.optimizer import make_optimizer
from lct_jax.training.state import init_state
from lct_jax.training.step import Part, find_gradient, make_step
from lct_jax.types import TokenIndex

TRAINING = TrainingConfig(steps=1_000, warmup=10)
FLOW = FlowConfig()
# The sides of the matrices whose product measures the machine's peak.
MATRIX = 2048
TIME = 0.5  # of every group where velocities are compared


class Ours:
    """Holds a case as a run of `train.py` has it: parameters, state and one batch that is used repeatedly."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.batch = jax.tree.map(jnp.asarray, make_batch(case))
        self.graph, params = build(case.model, key=0)
        self.params = randomise(params)
        optimizer = make_optimizer(TRAINING, decays=find_family(case.model).decays)
        self.state = init_state(jax.tree.map(jnp.copy, self.params), optimizer)
        how = {"training": TRAINING, "slots": case.slots}
        step = make_step(
            self.graph, optimizer, flow_config=FLOW, samples=float(len(case.scenes)), **how
        )
        self._step = jax.jit(step, donate_argnums=0)

        def gradient(params: Any, batch: Any, key: jax.Array) -> Any:
            added = flow.draw(key, batch, slots=case.slots, config=FLOW)
            part = Part(batch, added, flow.loss_weights(batch.video.index, case.slots))
            samples = float(len(case.scenes))
            return find_gradient(self.graph, params, None, part, TRAINING, samples=samples)

        self._gradient = jax.jit(gradient)
        self.key = jax.random.key(0)

    def actions(self) -> dict[str, Action]:
        """Returns actions by name; each has done its work when it returns."""
        return {
            "step": self.step,
            "gradient": self.gradient,
            "attention": make_attention(self.case),
            "linear": make_linear(self.case),
            "matmul": make_matmul(),
        }

    def step(self) -> None:
        """Runs the jitted step of `training/state.py`."""
        self.state, metrics = jax.block_until_ready(
            self._step(self.state, None, self.batch, self.key)
        )
        assert np.isfinite(metrics.loss)

    def gradient(self) -> None:
        """Runs forward and backward, without optimiser and EMA."""
        jax.block_until_ready(self._gradient(self.params, self.batch, self.key))

    def save_reference(self, path: Path) -> None:
        """Writes weights, velocity and gradient norm at one time for all groups, for comparison with the other side."""
        video, text = self.batch.video, self.batch.text
        time_BS = jnp.full((len(self.case.rows), self.case.slots), TIME)

        def error(params: Any) -> tuple[jax.Array, jax.Array]:
            network = nnx.merge(self.graph, params)
            velocity = network(video, text, time_BS, context="full").velocity
            return jnp.square(velocity).mean(), velocity

        (_, velocity), gradient = jax.jit(jax.value_and_grad(error, has_aux=True))(self.params)
        squares = [float(jnp.square(leaf).sum()) for leaf in jax.tree.leaves(gradient)]
        tensors = {f"params.{name}": leaf for name, leaf in name_leaves(self.params).items()}
        tensors |= {"velocity": velocity, "gradient_norm": np.sqrt(np.sum(squares, keepdims=True))}
        save_tensors(path, {name: np.asarray(leaf, np.float32) for name, leaf in tensors.items()})


def make_attention(case: Case) -> Action:
    """Returns attention alone, with the ordering of tokens: forward and backward, once for each block of the model."""
    batch, rng = make_batch(case), np.random.default_rng(0)
    pairs = zip(batch.text.index, batch.video.index, strict=True)
    index = TokenIndex(*(jnp.concatenate(pair, axis=1) for pair in pairs))
    model = case.model
    shape = (len(case.rows), model.backbone.heads, index.shot.shape[1], model.backbone.head_dim)
    q, k, v, cotangent = (jnp.asarray(rng.standard_normal(shape, np.float32)) for _ in range(4))

    @jax.jit
    def run(q: jax.Array, k: jax.Array, v: jax.Array, cotangent: jax.Array) -> Any:
        spans = find_spans(index, index, "full")
        mix = lambda q, k, v: attend(q, k, v, spans=spans).value
        value, pull = jax.vjp(mix, q, k, v)
        return value, pull(cotangent)

    def act() -> None:
        for _ in range(model.backbone.depth):
            jax.block_until_ready(run(q, k, v, cotangent))

    return act


def make_linear(case: Case) -> Action:
    """Returns projections with QK norm, output projection and MLP of both streams, forward and backward, in all
    blocks."""
    rng, model = np.random.default_rng(0), case.model
    draw = lambda length: jnp.asarray(
        rng.standard_normal((len(case.rows), length, model.backbone.width), np.float32)
    )
    graph, params = nnx.split([StreamBlock(model, rngs=nnx.Rngs(n)) for n in range(2)])

    @jax.jit
    def run(params: Any, x: Any, cotangent: Any) -> Any:
        def apply(params: Any, x: Any) -> Any:
            out = []
            for stream, x_BLD in zip(nnx.merge(graph, params), x, strict=True):
                q, k, v = stream.project(x_BLD)
                mixed_BLD = rearrange(q + k + v, "B H L K -> B L (H K)")
                out.append(project_tokens(stream.out, mixed_BLD) + stream.mlp(x_BLD))
            return out

        value, pull = jax.vjp(apply, params, x)
        return value, pull(cotangent)

    inputs, cotangent = ([draw(n) for n in (case.text_tokens, case.video_tokens)] for _ in range(2))

    def act() -> None:
        for _ in range(model.backbone.depth):
            jax.block_until_ready(run(params, inputs, cotangent))

    return act


def make_matmul(size: int = MATRIX) -> Action:
    """Returns the product of two big float32 matrices, which answers GFLOP/s."""
    import time

    one, other = (jnp.asarray(x) for x in random_matrices(size))
    product = jax.jit(jnp.dot)
    product(one, other).block_until_ready()

    def act() -> dict[str, float]:
        began = time.perf_counter()
        product(one, other).block_until_ready()
        return {"gflops": 2e-9 * size**3 / (time.perf_counter() - began)}

    return act


def random_matrices(size: int) -> list[np.ndarray]:
    """Returns two random matrices."""
    rng = np.random.default_rng(0)
    return [rng.standard_normal((size, size), np.float32) for _ in range(2)]
