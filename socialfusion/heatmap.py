"""Where somebody looks, as a map over the picture: head, target, loss and reading.

The head maps the language model's output on the visual tokens to logits: linear, a transposed
convolution that doubles the grid, then bilinear to the size of the map, as Gaze-LLE does (arXiv
2412.09586). The target of an annotator is a Gaussian of deviation 3 cells of 64 with peak 1.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["GazeHead", "heatmap_loss", "heatmap_probabilities", "target_maps"]

DEVIATION = 3.0
"""Of the target, in cells of the map; it ends at three deviations."""


def target_maps(points: Float[Tensor, "b a 2"], size: int) -> Float[Tensor, "b s s"]:
    """The map that each sample should give: the mean over its annotators.

    Around the cell that holds the point, a Gaussian of deviation 3 cells with peak 1, which ends at
    three deviations (Chong et al. 2020, arXiv 2003.02501, in the released code).

    Args:
        points: Normalised xy by annotator, NaN-padded; outside the picture counts as its border.
        size: Side of the maps in cells.

    Returns:
        Shape (b, size, size); all NaN for a sample without any annotator, so that its loss is NaN.
    """
    known = ~points.isnan().any(2)
    cell = (points.nan_to_num() * size).floor().clamp(0, size - 1)
    number = torch.arange(size, device=points.device, dtype=points.dtype)
    x, y = ((number - cell[..., axis, None]).square() for axis in (0, 1))
    square = y[..., :, None] + x[..., None, :]
    bump = torch.exp(-square / (2 * DEVIATION**2)) * (square <= (3 * DEVIATION) ** 2)
    each = bump * known[..., None, None]
    return each.sum(1) / known.sum(1)[:, None, None]


def heatmap_loss(
    logits: Float[Tensor, "b s s"], target: Float[Tensor, "b s s"]
) -> Float[Tensor, " b"]:
    """Binary cross-entropy in nats, averaged over the cells of each map."""
    loss = nn.functional.binary_cross_entropy_with_logits(
        logits.float(), target.float(), reduction="none"
    )
    return loss.flatten(1).mean(1)


def heatmap_probabilities(logits: Float[Tensor, "b s s"]) -> Float[Tensor, "b s s"]:
    """The map as a distribution over its cells, each map summing to 1, float32.

    A cell's sigmoid is the height of the target that is expected there. At the optimum these
    heights are the distribution of the point, blurred by the target's Gaussian, up to a constant;
    so they are divided by their sum. (A softmax of the logits would be the odds, which are too
    sharp around a sure point.)
    """
    height = torch.sigmoid(logits.float())
    return height / height.sum(dim=(1, 2), keepdim=True)


class GazeHead(nn.Module):
    """Logits of a map from the outputs at the visual tokens of one picture.

    Args:
        wide: Width of the language model.
        width: Channels before the transposed convolution.
        grid: Rows and columns of the visual tokens.
        size: Side of the map.
    """

    def __init__(self, wide: int, width: int, grid: tuple[int, int], size: int) -> None:
        super().__init__()
        self.grid, self.size = grid, size
        self.project = nn.Linear(wide, width)
        self.enlarge = nn.ConvTranspose2d(width, 1, kernel_size=2, stride=2)

    @torch.no_grad()
    def initialise(self, *, generator: torch.Generator) -> None:
        """Draw weights within 1 / sqrt(inputs); the constant is the logit of an average target.

        So the first steps learn where, not that most of a map is empty.
        """
        for weight, inputs in (
            (self.project.weight, self.project.in_features),
            (self.enlarge.weight, self.enlarge.in_channels),
        ):
            bound = 1 / math.sqrt(inputs)
            weight.uniform_(-bound, bound, generator=generator)
        self.project.bias.zero_()
        share = min(0.5, 2 * math.pi * DEVIATION**2 / self.size**2)
        self.enlarge.bias.fill_(math.log(share / (1 - share)))

    def forward(self, hidden: Float[Tensor, "b v d"]) -> Float[Tensor, "b s s"]:
        """Logits, rows from top to bottom."""
        h, w = self.grid
        image = self.project(hidden).transpose(1, 2).unflatten(2, (h, w))
        logits = self.enlarge(image)
        shape = (self.size, self.size)
        return nn.functional.interpolate(logits, shape, mode="bilinear", antialias=False)[:, 0]
