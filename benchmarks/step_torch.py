"""Makes actions of the same MMDiT and training step in PyTorch, with diffusers' dual-stream blocks.

The blocks are Flux's (QK RMSNorm, rotary positions, adaLN, GELU-tanh MLP), as diffusers has them, except for the
modulation, which is shared by all blocks plus a table for each block, as in this project. So both sides have the same
parameters and, where all groups have one time, compute the same velocity, which `check` verifies. Flux's block has one
time for each row, and this project's one for each token.
"""

from __future__ import annotations

import copy
import math
import time
from pathlib import Path

import numpy as np
import torch
from diffusers.models.transformers.transformer_flux import FluxTransformerBlock
from torch import nn
from torch.nn import functional

from benchmarks.step_cases import Case, make_batch
from benchmarks.step_torch_weights import load_weights
from benchmarks.turns import Action
from lct_jax.attention.rope import frequencies
from lct_jax.config import NetworkConfig, TrainingConfig
from lct_jax.tensors import load_tensors_of

Rotation = tuple[torch.Tensor, torch.Tensor]


class Modulation(nn.Module):
    """Returns six vectors for each row: a projection shared by all blocks plus a block's own table."""

    def __init__(self, shared: nn.Linear) -> None:
        super().__init__()
        self.shared = shared
        self.table = nn.Parameter(torch.zeros(shared.out_features))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.shared(hidden) + self.table


class TorchMMDiT(nn.Module):
    """Computes (video [B L C], text [B M E], time [B], rotation, mask) -> velocity [B L C]."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width, channels = config.backbone.width, config.backbone.patch_channels
        self.features = config.backbone.time_features
        self.video_in, self.text_in = (
            nn.Linear(channels, width),
            nn.Linear(config.backbone.text_width, width),
        )
        self.embed_in, self.embed_out = (
            nn.Linear(config.backbone.time_features, width),
            nn.Linear(width, width),
        )
        self.time_video, self.time_text = (nn.Linear(width, 6 * width) for _ in range(2))
        self.final, self.video_out = nn.Linear(width, 2 * width), nn.Linear(width, channels)
        self.blocks = nn.ModuleList(
            FluxTransformerBlock(width, config.backbone.heads, config.backbone.head_dim)
            for _ in range(config.backbone.depth)
        )
        for block in self.blocks:
            block.norm1.linear = Modulation(self.time_video)
            block.norm1_context.linear = Modulation(self.time_text)

    def forward(
        self,
        video: torch.Tensor,
        text: torch.Tensor,
        time: torch.Tensor,
        rotation: Rotation,
        mask: torch.Tensor | None,
    ) -> torch.Tensor:
        embedded = self.embed_out(functional.silu(self.embed_in(self._features(time))))
        x, y = self.video_in(video), self.text_in(text)
        for block in self.blocks:
            y, x = block(
                hidden_states=x,
                encoder_hidden_states=y,
                temb=embedded,
                image_rotary_emb=rotation,
                joint_attention_kwargs={"attention_mask": mask},
            )
        shift, scale = self.final(functional.silu(embedded))[:, None].chunk(2, dim=-1)
        return self.video_out(
            functional.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift
        )

    def _features(self, time: torch.Tensor) -> torch.Tensor:
        half = self.features // 2
        rate = torch.exp(-math.log(10_000.0) / half * torch.arange(half))
        angle = 1000.0 * time[:, None] * rate
        return torch.cat([angle.cos(), angle.sin()], dim=-1)


class Theirs:
    """Holds a case with a row for each scene or, in cases of fixed shape, a row that is one scene.

    Args:
        weights: the file that `Ours.save_reference` wrote. compiled: whether blocks go through `torch.compile`.
    """

    def __init__(
        self, case: Case, training: TrainingConfig, *, weights: Path, compiled: bool
    ) -> None:
        self.case, self.training, self.weights, self.compiled = case, training, weights, compiled
        batch = make_batch(case)
        streams = (batch.video, batch.text)
        self.video, self.text = (torch.from_numpy(tokens.value) for tokens in streams)
        seen = np.concatenate([tokens.index.scene > 0 for tokens in (batch.text, batch.video)], 1)
        self.mask = None if seen.all() else torch.from_numpy(seen)[:, None, None]
        self.weight = torch.from_numpy(seen[:, case.text_tokens :]).float()
        coord = np.concatenate([tokens.index.coord[0] for tokens in (batch.text, batch.video)])
        self.rotation = make_rotation(coord, case.model)
        self.model = TorchMMDiT(case.model)
        load_weights(self.model, weights, case.model)
        self.ema = copy.deepcopy(self.model).requires_grad_(False)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=training.learning_rate,
            betas=(training.beta1, training.beta2),
            weight_decay=training.weight_decay,
            fused=True,
        )
        if compiled:
            for block in self.model.blocks:
                block.compile(dynamic=False)

    def actions(self) -> dict[str, Action]:
        """Returns actions by name; those of `Ours`, and `check`."""
        return {
            "check": self.check,
            "step": self.step,
            "gradient": self.gradient,
            "attention": self.make_attention(),
            "linear": self.make_linear(),
            "matmul": make_matmul(),
        }

    def step(self) -> None:
        """Runs forward, backward, clipping, AdamW and the average of parameters."""
        self._backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.training.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        pairs = list(self.ema.parameters()), list(self.model.parameters())
        with torch.no_grad():
            torch._foreach_lerp_(*pairs, 1.0 - self.training.ema)

    def gradient(self) -> None:
        """Runs forward and backward, without optimiser and average."""
        self._backward()
        self.optimizer.zero_grad(set_to_none=True)

    def _backward(self) -> None:
        noise = torch.randn_like(self.video)
        time = torch.randn(len(self.video)).sigmoid()
        mixing = time[:, None, None]
        noisy = (1 - mixing) * self.video + mixing * noise
        velocity = self.model(noisy, self.text, time, self.rotation, self.mask)
        error = (velocity - (noise - self.video)).square().mean(-1)
        loss = (error * self.weight).sum() / self.weight.sum()
        loss.backward()
        assert math.isfinite(loss.item())

    def check(self) -> dict[str, float]:
        """Returns the largest error of the velocity and the error of the gradient's norm against the reference,
        relative."""
        names = ["velocity", "gradient_norm"]
        velocity, norm = map(torch.from_numpy, load_tensors_of(self.weights, names).values())
        time = torch.full((len(self.video),), 0.5)
        found = self.model(self.video, self.text, time, self.rotation, self.mask)
        found.square().mean().backward()
        found = found.detach()
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        found_norm = nn.utils.get_total_norm(gradients)
        self.optimizer.zero_grad(set_to_none=True)
        return {
            "velocity_error": float((found - velocity).abs().max() / velocity.std()),
            "gradient_error": float((found_norm / norm - 1.0).abs()),
        }

    def make_attention(self) -> Action:
        """Returns attention alone, forward and backward, once for each block of the model."""
        model, rows = self.case.model, len(self.case.rows)
        shape = rows, model.backbone.heads, self.case.tokens // rows, model.backbone.head_dim
        q, k, v, cotangent = (torch.randn(shape, requires_grad=n < 3) for n in range(4))

        def act() -> None:
            for _ in range(model.backbone.depth):
                value = functional.scaled_dot_product_attention(q, k, v, attn_mask=self.mask)
                torch.autograd.grad(value, (q, k, v), cotangent)

        return act

    def make_linear(self) -> Action:
        """Returns projections with QK norm, output projection and MLP of both streams, forward and backward, in all
        blocks."""
        model, rows = self.case.model, len(self.case.rows)
        lengths = self.case.text_tokens, self.case.video_tokens
        inputs = [torch.randn(rows, n, model.backbone.width, requires_grad=True) for n in lengths]
        cotangents = [torch.randn(rows, n, model.backbone.width) for n in lengths]

        # The arguments are modules of a block.
        def stream(x, to_q, to_k, to_v, norm_q, norm_k, out, mlp):
            heads = lambda projected: projected.unflatten(-1, (model.backbone.heads, -1))
            q, k, v = norm_q(heads(to_q(x))), norm_k(heads(to_k(x))), heads(to_v(x))
            return out((q + k + v).flatten(-2)) + mlp(x)

        run = torch.compile(stream, dynamic=False) if self.compiled else stream

        def act() -> None:
            for block in self.model.blocks:
                a = block.attn
                text = (a.add_q_proj, a.add_k_proj, a.add_v_proj, a.norm_added_q, a.norm_added_k)
                video = (a.to_q, a.to_k, a.to_v, a.norm_q, a.norm_k)
                ends = (a.to_add_out, block.ff_context), (a.to_out[0], block.ff)
                for x, cotangent, parts, end in zip(
                    inputs, cotangents, (text, video), ends, strict=True
                ):
                    parameters = [p for part in (*parts, *end) for p in part.parameters()]
                    torch.autograd.grad(run(x, *parts, *end), [x, *parameters], cotangent)

        return act


def make_rotation(coord_L3: np.ndarray, config: NetworkConfig) -> Rotation:
    """Returns cosines and sines [L K] of neighbouring pairs, as Flux's blocks take them."""
    angle = coord_L3 @ frequencies(config.backbone.rope_split, config.backbone.rope_base)
    return tuple(
        torch.from_numpy(np.repeat(f(angle), 2, axis=1).astype(np.float32))
        for f in (np.cos, np.sin)
    )


def make_matmul(size: int = 2048) -> Action:
    """Returns the product of two big float32 matrices, which answers GFLOP/s."""
    one, other = torch.randn(size, size), torch.randn(size, size)

    def act() -> dict[str, float]:
        began = time.perf_counter()
        one @ other
        return {"gflops": 2e-9 * size**3 / (time.perf_counter() - began)}

    return act
