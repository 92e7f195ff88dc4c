"""The blocks of the one vision transformer: attention, feed-forward part, norms, layer scale."""

import functools
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from degradation.encoders.architecture import VitConfig
from degradation.encoders.positions import Turns, rotated

__all__ = ["Block", "norm_layer", "quick_gelu"]


def quick_gelu(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The sigmoid approximation x * sigmoid(1.702 x) with which OpenAI trained CLIP."""
    return x * torch.sigmoid(1.702 * x)


def swiglu(x: Float[Tensor, "*shape wide"]) -> Float[Tensor, "*shape narrow"]:
    """The second half of the channels times the SiLU of the first half."""
    gate, value = x.chunk(2, dim=-1)
    return functional.silu(gate) * value


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "gelu_tanh": functools.partial(functional.gelu, approximate="tanh"),
    "quick_gelu": quick_gelu,
    "swiglu": swiglu,
}


def norm_layer(config: VitConfig) -> nn.Module:
    """A norm over the token width."""
    kind = nn.LayerNorm if config.norm == "layer" else nn.RMSNorm
    return kind(config.width, eps=config.norm_eps)


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, config: VitConfig):
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=config.qkv_bias)
        self.proj = nn.Linear(config.width, config.width, bias=config.proj_bias)

    def forward(
        self,
        x: Float[Tensor, "b t d"],
        turns: Turns | None,
        mask: Bool[Tensor, "t t"] | None,
    ) -> Float[Tensor, "b t d"]:
        """The mixed tokens, before they are added to the residual stream.

        Args:
            x: Tokens.
            turns: Rotary turns of queries and keys, if any.
            mask: True where one token may attend to another; everywhere if None.
        """
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key = qkv[:2] if turns is None else rotated(qkv[:2], turns)
        mixed = functional.scaled_dot_product_attention(query, key, qkv[2], attn_mask=mask)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """The feed-forward part of a block. With SwiGLU, `fc1` holds the gate and then the value."""

    def __init__(self, config: VitConfig):
        super().__init__()
        hidden = config.mlp * (2 if config.activation == "swiglu" else 1)
        self.fc1 = nn.Linear(config.width, hidden, bias=config.mlp_bias)
        self.activation = ACTIVATIONS[config.activation]
        self.fc2 = nn.Linear(config.mlp, config.width, bias=config.mlp_bias)

    def forward(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
        """The transformed tokens, before they are added to the residual stream."""
        return self.fc2(self.activation(self.fc1(x)))


class Block(nn.Module):
    """One pre-norm transformer block."""

    def __init__(self, config: VitConfig):
        super().__init__()
        self.norm1 = norm_layer(config)
        self.attn = Attention(config)
        self.norm2 = norm_layer(config)
        self.mlp = Mlp(config)
        self.scale1 = nn.Parameter(torch.ones(config.width)) if config.layer_scale else None
        self.scale2 = nn.Parameter(torch.ones(config.width)) if config.layer_scale else None

    def forward(
        self,
        x: Float[Tensor, "b t d"],
        turns: Turns | None = None,
        mask: Bool[Tensor, "t t"] | None = None,
    ) -> Float[Tensor, "b t d"]:
        """The residual stream after this block. Arguments as for `Attention`."""
        x = x + scaled(self.attn(self.norm1(x), turns, mask), self.scale1)
        return x + scaled(self.mlp(self.norm2(x)), self.scale2)


def scaled(x: Float[Tensor, "b t d"], scale: Float[Tensor, "d"] | None) -> Float[Tensor, "b t d"]:
    """A branch of a block, scaled per channel where there is a scale."""
    return x if scale is None else x * scale
