"""The connector against layers written out."""

import pytest
import torch
from torch.nn import functional

from degradation.errors import ConfigError
from socialfusion.connector import connector
from socialfusion.drawing import initialise_linear


def test_layers_have_gelu_between_them_and_none_at_the_end() -> None:
    mlp = connector(5, 7, 3, depth=3)
    x = torch.randn(2, 4, 5)
    first, second, third = (layer for layer in mlp if isinstance(layer, torch.nn.Linear))
    hidden = functional.gelu(second(functional.gelu(first(x))))
    torch.testing.assert_close(mlp(x), third(hidden))


def test_one_layer_is_linear() -> None:
    mlp = connector(5, 7, 3, depth=1)
    x, y = torch.randn(2, 5), torch.randn(2, 5)
    torch.testing.assert_close(mlp(x) + mlp(y), mlp(x + y) + mlp(torch.zeros(2, 5)))
    assert sum(one.numel() for one in mlp.parameters()) == 5 * 3 + 3


@pytest.mark.parametrize(("depth", "width"), [(0, 4), (3, 0)])
def test_no_layers_and_no_width_are_refused(depth: int, width: int) -> None:
    with pytest.raises(ConfigError, match="at least one layer"):
        connector(5, width, 3, depth=depth)


def test_weights_are_those_of_the_seed_and_as_large_as_torchs() -> None:
    mlp = connector(400, 300, 200, depth=2)
    own = [one.detach().clone() for one in mlp.parameters()]
    initialise_linear(mlp, generator=torch.Generator().manual_seed(1))
    for old, new in zip(own, mlp.parameters(), strict=True):
        assert new.std().item() == pytest.approx(old.std().item(), rel=0.1)
        assert new.abs().max().item() == pytest.approx(old.abs().max().item(), rel=0.05)
    again = connector(400, 300, 200, depth=2)
    initialise_linear(again, generator=torch.Generator().manual_seed(1))
    assert all(torch.equal(a, b) for a, b in zip(mlp.parameters(), again.parameters(), strict=True))
