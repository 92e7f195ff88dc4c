"""Batch norm in the stem while it trains, folded into its convolutions when it is kept.

Without it the stem learns no facial detail at all within the budget of the recipe; with it folded
away the kept tower is a plain one, and the same function.
"""

import copy

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from degradation.encoders.vit import Vit

__all__ = ["folded", "with_batch_norm"]


def with_batch_norm(tower: Vit) -> None:
    """Put a batch norm behind every convolution of the stem, in place."""
    for number, layer in enumerate(tower.stem):
        if isinstance(layer, nn.Conv2d):
            tower.stem[number] = nn.Sequential(layer, nn.BatchNorm2d(layer.out_channels))


def folded(tower: Vit) -> Vit:
    """A copy in evaluation mode whose stem has the running statistics in its weights."""
    plain = copy.deepcopy(tower).eval()
    for number, layer in enumerate(plain.stem):
        if isinstance(layer, nn.Sequential):
            convolution, norm = layer
            plain.stem[number] = fuse_conv_bn_eval(convolution, norm)
    return plain
