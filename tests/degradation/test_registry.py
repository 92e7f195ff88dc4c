import subprocess
import sys

import numpy as np
import pytest
import torch

from degradation.encoders.names import unknown_name
from degradation.encoders.pair import Pair
from degradation.encoders.planted import OPERATIONS, fit_planted
from degradation.encoders.registry import PLANTED, get_pair, load_encoder, pair_of, pairs
from degradation.encoders.tiny import load_tiny, save_tiny
from degradation.encoders.vit import Vit, VitConfig
from degradation.errors import ConfigError, WeightsError

CONFIG = VitConfig(size=24, patch=8, width=16, depth=2, heads=2, mlp=24)
KINDS = ["tiny:pre", "tiny:post", "tiny:step-000400", *(f"{kind}:post" for kind in PLANTED)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    for seed, name in enumerate(["pre", "post", "step-000400", "step-001200"]):
        vit = Vit(CONFIG).initialise(generator=torch.Generator().manual_seed(seed))
        save_tiny(vit, folder, name)
    tokens = load_tiny("pre", folder)(random_pixels(60), [0, 1])
    features = {block: tokens[block].patches.mean(dim=1).numpy() for block in tokens}
    fit_planted(features, np.arange(60) % 3, folder)
    return folder


def random_pixels(n, size=24):
    rng = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, 3, size, size), generator=rng, dtype=torch.uint8)


def test_pairs_are_tiny_its_checkpoints_and_the_planted_ones(folder):
    known = pairs(folder)
    assert list(known) == ["tiny", "tiny@000400", "tiny@001200", *PLANTED]
    assert all(pair.name == name and pair.pre == "tiny:pre" for name, pair in known.items())
    assert known["tiny@001200"].post == "tiny:step-001200"
    assert "1200 steps" in known["tiny@001200"].lineage
    assert known["folded"].post == "folded:post"
    assert list(PLANTED) == list(OPERATIONS)


def test_every_registered_pair_loads(folder):
    for name in pairs(folder):
        pair = get_pair(name, folder)
        for side in (pair.pre, pair.post):
            assert load_encoder(side, folder=folder).info.name == side


def test_unknown_pair_gets_suggestions_and_the_list(folder):
    with pytest.raises(ConfigError, match=r"no pair 'tiny@00040'. Did you mean tiny@000400") as e:
        get_pair("tiny@00040", folder)
    assert "erased, folded, identity" in str(e.value)


@pytest.mark.parametrize("name", ["tiny:prae", "rotation:pre", "tiny", "nonsense", "hf:", ""])
def test_unknown_encoder_is_refused_by_name(folder, name):
    with pytest.raises(ConfigError, match=r"There is no encoder .*hf:"):
        load_encoder(name, folder=folder)


def test_missing_weights_are_not_an_unknown_name(tmp_path):
    with pytest.raises(WeightsError, match="sdiag scenes train"):
        load_encoder("tiny:post", folder=tmp_path)


def test_ad_hoc_pair():
    pair = pair_of("tiny:pre", "hf:some/repo")
    assert (pair.name, pair.pre, pair.post) == (
        "tiny:pre..hf:some/repo",
        "tiny:pre",
        "hf:some/repo",
    )
    assert pair_of("a", "b", name="mine").name == "mine"
    assert isinstance(pair, Pair)


def test_suggestions_are_near_and_long_lists_are_cut():
    error = unknown_name("thing", "model77", [f"model{i}" for i in range(90)], shown=3)
    assert "Did you mean model77" in str(error)
    assert str(error).endswith("Known: model0, model1, model10 and 87 more.")
    assert "Did you mean" not in str(unknown_name("thing", "zzz", ["model1"]))


def test_listing_needs_no_torch():
    code = (
        "import sys; from degradation.encoders.registry import pairs; pairs();"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", KINDS)
def test_contract(folder, name):
    encoder = load_encoder(name, folder=folder)
    info = encoder.info
    pixels = random_pixels(3)
    tokens = encoder(pixels, [1, 0])
    grid = info.size // info.patch
    assert list(tokens) == [1, 0]
    for output in tokens.values():
        assert output.patches.shape == (3, grid * grid, info.width)
        assert output.prefix.shape == (3, info.n_prefix, info.width)
        assert output.patches.dtype == output.prefix.dtype == torch.float32
        assert not output.patches.requires_grad
    again = load_encoder(name, folder=folder)
    assert again.info == info
    repeated = again(pixels, [0, 1])
    assert all(torch.equal(tokens[i].patches, repeated[i].patches) for i in (0, 1))
    assert not any(p.requires_grad for p in encoder.parameters())
    assert not any(module.training for module in encoder.train().modules())


@pytest.mark.parametrize("name", [n for n in KINDS if not n.startswith(("noise", "folded"))])
def test_brightest_change_is_at_the_cell_that_changed(folder, name):
    # Attention carries a change everywhere, but most of it stays where it was made. (Noise and
    # the folding sign change with the picture as a whole.)
    encoder = load_encoder(name, folder=folder)
    dark = torch.zeros(1, 3, 24, 24, dtype=torch.uint8)
    for row, column in ((0, 2), (2, 1)):
        bright = dark.clone()
        bright[:, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = 255
        change = encoder(bright, [1])[1].patches - encoder(dark, [1])[1].patches
        assert change.norm(dim=-1).argmax() == 3 * row + column
