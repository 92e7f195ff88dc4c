"""The differentiable path of frozen encoders: the same tokens, with gradients where asked for."""

import pytest
import torch

from degradation.encoders.encoder import EncoderInfo
from degradation.encoders.frozen import FrozenEncoder
from degradation.encoders.frozen_vit import frozen_vit
from degradation.encoders.library import HookedTower
from degradation.encoders.planted import OPERATIONS, load_planted
from degradation.encoders.tiny import load_tiny
from degradation.encoders.vit import Vit, VitConfig
from degradation.errors import ConfigError


def pictures(size=64, n=2):
    rng = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, 3, size, size), generator=rng, dtype=torch.uint8)


def hooked():
    import timm

    model = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2)
    info = EncoderInfo("timm:small", "0", 2, 192, 32, 16, 1, (0.5,) * 3, (0.5,) * 3)
    return FrozenEncoder(HookedTower(model, model.blocks, 1), info)


ENCODERS = {
    "tiny": lambda: load_tiny("pre"),
    **{kind: lambda kind=kind: load_planted(kind) for kind in OPERATIONS},
    "library": hooked,
}


@pytest.mark.parametrize("name", ENCODERS)
def test_tokens_are_those_of_the_forward_pass_and_nothing_is_tracked_unasked(name):
    encoder = ENCODERS[name]()
    pixels = pictures(encoder.info.size)
    plain, tracked = encoder(pixels, [0, 1]), encoder.with_gradients(pixels, [0, 1])
    for block in (0, 1):
        assert torch.equal(plain[block].patches, tracked[block].patches)
        assert not tracked[block].patches.requires_grad


@pytest.mark.parametrize("name", ENCODERS)
def test_gradients_reach_the_weights_that_ask_for_them(name):
    encoder = ENCODERS[name]()
    pixels = pictures(encoder.info.size)
    weights = {n: p for n, p in encoder.tower.named_parameters() if "blocks.0.mlp" in n}
    assert weights
    for one in weights.values():
        one.requires_grad_(True)
    assert not encoder(pixels, [1])[1].patches.requires_grad
    tokens = encoder.with_gradients(pixels, [1])[1].patches
    grads = torch.autograd.grad(tokens.square().sum(), list(weights.values()))
    assert all(grad.abs().sum() > 0 for grad in grads)
    assert all(p.grad is None for p in encoder.parameters())


class Wide(torch.nn.Module):
    """A tower in float64, so that finite differences are exact enough."""

    def __init__(self, vit):
        super().__init__()
        self.vit = vit.double()

    def forward(self, pixels, blocks):
        return self.vit(pixels.double(), blocks)


def test_gradients_are_those_of_finite_differences():
    vit = Vit(VitConfig(size=16, patch=8, width=16, depth=2, heads=2, mlp=24))
    vit.initialise(generator=torch.Generator().manual_seed(1))
    encoder = FrozenEncoder(Wide(vit), frozen_vit(vit, name="small").info)
    weight = vit.blocks[0].attn.qkv.weight.requires_grad_(True)
    pixels = pictures(16)

    def value():
        return encoder.with_gradients(pixels, [1])[1].patches.sin().sum()

    (grad,) = torch.autograd.grad(value(), weight)
    along = torch.randn(weight.shape, generator=torch.Generator().manual_seed(2)).double()
    step = 1e-5
    with torch.no_grad():
        weight += step * along
        up = value()
        weight -= 2 * step * along
        down = value()
    assert float((grad * along).sum()) == pytest.approx(float(up - down) / (2 * step), rel=1e-6)


def test_a_block_that_is_not_there_is_refused_here_too():
    with pytest.raises(ConfigError, match="blocks 0 to 2"):
        load_tiny("pre").with_gradients(pictures(), [3])
