"""What this machine's accelerator computes, against the plain reference on its CPU; run by test_accelerator.py.

Prints a line of JSON: the platform that JAX found, and on an accelerator the largest difference of each comparison.
"""

from __future__ import annotations

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scenes import TINY, TinyModel, make_scenes, pack_scenes

from lct_jax.attention.attend import attend, attend_dense, name_kernel
from lct_jax.attention.mask import find_spans, visible
from lct_jax.backbones.mmdit.names import decays
from lct_jax.config import FlowConfig, TrainingConfig
from lct_jax.distributed.sharding import make_mesh
from lct_jax.training.optimizer import make_optimizer
from lct_jax.training.state import init_state
from lct_jax.training.step import make_step


def compare_attention(context: str) -> float:
    """Largest difference of values and gradients: the kernel of this device, and attention over the whole mask."""
    rows = pack_scenes([list(make_scenes().values())[:2], list(make_scenes(1).values())[2:]])
    index = rows.batch.video.index
    spans, seen = find_spans(index, index, context), visible(index, index, context)
    rng = np.random.default_rng(0)
    shape = (len(index.scene), 2, index.scene.shape[1], 64)
    q, k, v, weight = (jnp.asarray(rng.normal(size=shape), jnp.float32) for _ in range(4))

    def run(mix):
        loss = lambda qkv: (weight * mix(*qkv).value).sum()
        return jax.jit(lambda qkv: (mix(*qkv).value, jax.grad(loss)(qkv)))((q, k, v))

    found = run(lambda q, k, v: attend(q, k, v, spans=spans))
    return _largest(found, run(lambda q, k, v: attend_dense(q, k, v, seen)))


def compare_step(device: jax.Device) -> float:
    """Largest difference of loss, gradient norm and parameters after one training step here and on the CPU."""
    return _largest(_train(device), _train(jax.devices("cpu")[0]))


def _train(device: jax.Device) -> Any:
    training = TrainingConfig(steps=2, warmup=1)
    with jax.default_device(device), jax.set_mesh(make_mesh(devices=[device])):
        model, batch = TinyModel(TINY), pack_scenes([list(make_scenes().values())[:2]]).batch
        optimizer = make_optimizer(training, decays=decays)
        step = make_step(
            model.graph, optimizer, flow_config=FlowConfig(), training=training, slots=7, samples=2
        )
        state, output = jax.jit(step)(
            init_state(model.params, optimizer), None, batch, jax.random.key(0)
        )
    return jax.device_get((output.loss, output.gradient_norm, state.params))


def _largest(found: Any, expected: Any) -> float:
    apart = jax.tree.map(lambda a, b: np.abs(np.asarray(a) - np.asarray(b)).max(), found, expected)
    return max(map(float, jax.tree.leaves(apart)))


def main() -> None:
    device = jax.devices()[0]
    result = {"platform": device.platform, "kernel": name_kernel("auto", device.platform)}
    if device.platform != "cpu":
        with jax.default_matmul_precision("highest"):
            for context in ("full", "causal"):
                result[f"attention, {context}"] = compare_attention(context)
            result["step"] = compare_step(device)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
