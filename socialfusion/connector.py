"""The connector: an MLP from the width of the encoder to that of the language model.

Linear layers with GELU between them and none at the end, as in LLaVA 1.5 (arXiv 2310.03744).
"""

from itertools import pairwise

from torch import nn

from degradation.errors import ConfigError

__all__ = ["connector"]


def connector(wide: int, hidden: int, narrow: int, *, depth: int) -> nn.Sequential:
    """An MLP of `depth` linear layers, called on tokens (..., wide), giving (..., narrow).

    Args:
        wide: Width of the visual tokens.
        hidden: Width between the layers; of no effect at depth 1.
        narrow: Width of the language model.
        depth: Number of linear layers; 3 in the paper.

    Raises:
        ConfigError: Depth or hidden width is below 1.
    """
    if depth < 1 or hidden < 1:
        raise ConfigError(
            f"Expected a connector of at least one layer and width 1, found depth {depth} and "
            f"width {hidden}. The paper's are 3 and 4096."
        )
    widths = [wide, *[hidden] * (depth - 1), narrow]
    layers: list[nn.Module] = []
    for first, second in pairwise(widths):
        layers += [nn.Linear(first, second), nn.GELU()]
    return nn.Sequential(*layers[:-1])
