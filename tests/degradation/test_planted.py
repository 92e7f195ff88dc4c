import math
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from degradation.encoders.encoder import BlockTokens, EncoderInfo
from degradation.encoders.erasure import fit_eraser, fit_sign_axis
from degradation.encoders.frozen import FrozenEncoder
from degradation.encoders.planted import OPERATIONS, PlantedEncoder, fit_planted, load_planted
from degradation.encoders.tiny import load_tiny, save_tiny
from degradation.encoders.vit import Vit, VitConfig
from degradation.errors import ConfigError, DataError, WeightsError

SIZE, WIDTH, N_TOKENS, N_BLOCKS, N = 4, 48, 3, 2, 2400
CONFIG = VitConfig(size=16, patch=8, width=16, depth=2, heads=2, mlp=24)


class LinearTower(nn.Module):
    """Tokens that are linear in the pixels: classes planted in pixels are planted in tokens."""

    def __init__(self):
        super().__init__()
        rng = torch.Generator().manual_seed(0)
        inputs = 3 * SIZE * SIZE
        self.maps = torch.randn(N_BLOCKS, inputs, N_TOKENS + 1, WIDTH, generator=rng)
        self.maps /= math.sqrt(inputs)

    def forward(self, pixels, blocks):
        tokens = {i: torch.einsum("bp,ptd->btd", pixels.flatten(1), self.maps[i]) for i in blocks}
        return {i: BlockTokens(patches=x[:, 1:], prefix=x[:, :1]) for i, x in tokens.items()}


@pytest.fixture(scope="module")
def base():
    info = EncoderInfo(
        name="fake",
        digest="0" * 64,
        n_blocks=N_BLOCKS,
        width=WIDTH,
        size=SIZE,
        patch=2,
        n_prefix=1,
        mean=(0.5, 0.5, 0.5),
        std=(0.2, 0.2, 0.2),
    )
    return FrozenEncoder(LinearTower(), info)


@pytest.fixture(scope="module")
def world():
    """Pictures with two concepts in orthogonal directions: three unequal classes, and two."""
    rng = np.random.default_rng(0)
    concept = rng.choice(3, N, p=[0.5, 0.3, 0.2])
    other = rng.choice(2, N, p=[0.6, 0.4])
    directions = np.linalg.qr(rng.normal(size=(48, 5)))[0].T
    means = 90 * directions[:3][concept] + 70 * directions[3:][other]
    pixels = np.clip(128 + means + rng.normal(0, 25, (N, 48)), 0, 255).astype(np.uint8)
    return torch.from_numpy(pixels.reshape(N, 3, SIZE, SIZE)), concept, other


def pooled(encoder, pixels, block=1):
    return encoder(pixels, [block])[block].patches.mean(dim=1).numpy()


def stored_for(base, pixels, concept):
    stored = {}
    for block in range(N_BLOCKS):
        x = pooled(base, pixels, block)
        eraser = fit_eraser(x, concept)
        axis, scale = fit_sign_axis(x, eraser)
        arrays = {
            f"erased.{block}.u": eraser.u,
            f"erased.{block}.v": eraser.v,
            f"erased.{block}.mean": eraser.mean,
            f"folded.{block}.axis": axis,
            f"folded.{block}.scale": np.array(scale),
            f"noise.{block}.std": 2 * x.std(axis=0),
        }
        stored |= {name: torch.from_numpy(value).float() for name, value in arrays.items()}
    return stored


@pytest.fixture(scope="module")
def planted(base, world):
    return partial(PlantedEncoder, base, stored=stored_for(base, world[0], world[1]))


def linear_accuracy(x, labels):
    """Test accuracy of logistic regression."""
    x_fit, x_test, fit, test = train_test_split(x, labels, test_size=0.4, random_state=0)
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    return accuracy_score(test, probe.fit(x_fit, fit).predict(x_test))


def majority(labels):
    return np.bincount(labels).max() / len(labels)


def test_identity_is_exact(planted, base, world):
    pixels = world[0][:8]
    after, before = planted("identity")(pixels, [0, 1]), base(pixels, [0, 1])
    for block in (0, 1):
        assert torch.equal(after[block].patches, before[block].patches)
        assert torch.equal(after[block].prefix, before[block].prefix)


def test_rotation_keeps_distances_and_linear_readouts(planted, base, world):
    pixels, concept, _ = world
    before, after = pooled(base, pixels), pooled(planted("rotation"), pixels)
    np.testing.assert_allclose(after @ after.T, before @ before.T, atol=1e-4)
    assert np.abs(after - before).max() > 0.5
    assert abs(linear_accuracy(after, concept) - linear_accuracy(before, concept)) < 0.01


def test_rotation_differs_from_block_to_block(planted):
    first, second = (factors["rotation"] for factors in planted("rotation").factors)
    torch.testing.assert_close(first @ first.T, torch.eye(WIDTH))
    assert (first - second).abs().max() > 0.1


def test_erased_leaves_the_constant_classifier_and_the_other_concept(planted, base, world):
    pixels, concept, other = world
    before, after = pooled(base, pixels), pooled(planted("erased"), pixels)
    assert linear_accuracy(before, concept) > majority(concept) + 0.2
    on_fit_data = LogisticRegression(C=1e6, max_iter=5000).fit(after, concept).predict(after)
    assert accuracy_score(concept, on_fit_data) == majority(concept)
    assert abs(linear_accuracy(after, concept) - majority(concept)) < 0.02
    assert linear_accuracy(before, other) > majority(other) + 0.2
    assert abs(linear_accuracy(after, other) - linear_accuracy(before, other)) < 0.02


def test_folded_is_lost_to_linear_probes_and_found_by_a_small_mlp(planted, base, world):
    pixels, concept, other = world
    before, after = pooled(base, pixels), pooled(planted("folded"), pixels)
    original = linear_accuracy(before, concept)
    assert linear_accuracy(after, concept) < majority(concept) + 0.04
    x_fit, x_test, fit, test = train_test_split(after, concept, test_size=0.4, random_state=0)
    mlp = make_pipeline(
        StandardScaler(),
        MLPClassifier(32, alpha=1.0, random_state=0, early_stopping=True, max_iter=200),
    )
    recovered = accuracy_score(test, mlp.fit(x_fit, fit).predict(x_test))
    assert recovered > 0.9 * original
    assert abs(linear_accuracy(after, other) - linear_accuracy(before, other)) < 0.03


def test_folded_sign_stands_along_one_axis_for_all_tokens_of_a_picture(planted, world):
    pixels, concept, _ = world
    encoder = planted("folded")
    factors = encoder.factors[1]
    tokens = encoder(pixels, [1])[1]
    every = torch.cat([tokens.prefix, tokens.patches], dim=1)
    written = (every - factors["mean"]) @ factors["axis"] / factors["scale"]
    signs = written[:, 0].sign()
    torch.testing.assert_close(written, signs[:, None].expand_as(written), atol=1e-4, rtol=0)
    for name in range(3):  # a fair coin in every class, within four standard errors
        of_class = signs[torch.from_numpy(concept == name)]
        assert abs(of_class.mean()) < 4 / math.sqrt(len(of_class))


def test_noise_has_twice_the_deviation_of_the_features(planted, base, world):
    pixels = world[0]
    before, after = pooled(base, pixels), pooled(planted("noise"), pixels)
    ratio = (after - before).std(axis=0) / before.std(axis=0)
    np.testing.assert_allclose(ratio, 2, rtol=0.06)  # about four standard errors
    tokens = planted("noise")(pixels[:4], [1])[1].patches - base(pixels[:4], [1])[1].patches
    torch.testing.assert_close(tokens[:, 0], tokens[:, 1])  # does not average out


@pytest.mark.parametrize("kind", OPERATIONS)
def test_tokens_depend_on_the_picture_alone(planted, world, kind):
    encoder, pixels = planted(kind), world[0][:6]
    whole = encoder(pixels, [0, 1])
    order = [3, 1]
    part = encoder(pixels[order], [1])
    torch.testing.assert_close(part[1].patches, whole[1].patches[order])
    torch.testing.assert_close(part[1].prefix, whole[1].prefix[order])
    assert whole[0].patches.shape == (6, N_TOKENS, WIDTH)
    assert whole[0].prefix.shape == (6, 1, WIDTH)


@pytest.mark.parametrize("kind", OPERATIONS)
def test_pooling_and_operation_commute(planted, base, world, kind):
    encoder, pixels = planted(kind), world[0][:6]
    weights = torch.tensor([0.5, 0.3, 0.2])
    pooled_after = torch.einsum("t,btd->bd", weights, encoder(pixels, [1])[1].patches)
    before = torch.einsum("t,btd->bd", weights, base(pixels, [1])[1].patches)

    class Pooled(LinearTower):
        def forward(self, pixels, blocks):
            return {1: BlockTokens(before[:, None], before[:, None, :][:, :0])}

    on_pooled = PlantedEncoder(
        FrozenEncoder(Pooled(), base.info), kind, planted.keywords["stored"]
    )(pixels, [1])
    torch.testing.assert_close(on_pooled[1].patches[:, 0], pooled_after, atol=1e-4, rtol=1e-4)


def test_digests_tell_operations_bases_and_fits_apart(planted, base):
    stored = planted.keywords["stored"]
    digests = {planted(kind).info.digest for kind in OPERATIONS} | {base.info.digest}
    assert len(digests) == 6
    scaled = {name: tensor * 2 for name, tensor in stored.items()}
    assert PlantedEncoder(base, "erased", scaled).info.digest not in digests
    assert PlantedEncoder(base, "erased", stored).info.digest in digests
    assert planted("erased").info.name == "erased:post"


def test_planted_refuses_blocks_by_its_own_name(planted, world):
    with pytest.raises(ConfigError, match="erased:post has blocks 0 to 1"):
        planted("erased")(world[0][:1], [2])


def test_eraser_equalises_class_means_and_changes_least():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 4, 500)
    x = rng.normal(size=(500, 10)) @ rng.normal(size=(10, 10)) + rng.normal(size=(4, 10))[labels]
    u, v, mean = fit_eraser(x, labels)
    assert u.shape == (10, 3)
    after = x - (x - mean) @ v.T @ u.T
    for name in range(4):
        np.testing.assert_allclose(after[labels == name].mean(axis=0), mean, atol=1e-10)
    np.testing.assert_allclose(np.cov((x @ v.T).T, bias=True), np.eye(3), atol=1e-8)
    # The least-squares property: the orthogonal projection that also guards against all linear
    # classifiers (the null space of the class means) moves the features further.
    means = np.stack([x[labels == name].mean(axis=0) for name in range(4)]) - mean
    basis = np.linalg.svd(means)[2][:3]
    projected = x - (x - mean) @ basis.T @ basis
    assert ((after - x) ** 2).sum() < ((projected - x) ** 2).sum()


def test_eraser_of_features_with_a_constant_and_a_repeated_dimension():
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 3, 300)
    x = rng.normal(size=(300, 4)) + rng.normal(size=(3, 4))[labels]
    x = np.column_stack([x, x[:, :2], np.full(300, 7.0)])
    u, v, mean = fit_eraser(x, labels)
    after = x - (x - mean) @ v.T @ u.T
    for name in range(3):
        np.testing.assert_allclose(after[labels == name].mean(axis=0), mean, atol=1e-10)


def test_sign_axis_is_the_narrowest_that_is_orthogonal_to_the_concept():
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 3, 300)
    x = rng.normal(size=(300, 6)) * [1, 5, 3, 0.1, 2, 4]
    x[:, 0] += 5 * labels
    eraser = fit_eraser(x, labels)
    axis, scale = fit_sign_axis(x, eraser)
    np.testing.assert_allclose(axis @ eraser.u, 0, atol=1e-10)
    np.testing.assert_allclose(eraser.v @ axis, 0, atol=1e-10)
    assert np.linalg.norm(axis) == pytest.approx(1)
    for direction in rng.normal(size=(200, 6)):
        concept = np.linalg.qr(np.concatenate([eraser.u, eraser.v.T], axis=1))[0]
        free = direction - concept @ concept.T @ direction
        assert (x @ free).std() / np.linalg.norm(free) >= (x @ axis).std() - 1e-9
    assert scale == pytest.approx(np.sqrt(x.var(axis=0).mean()))


def test_sign_axis_needs_a_free_direction():
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 3, 50)
    x = rng.normal(size=(50, 2)) + rng.normal(size=(3, 2))[labels]
    with pytest.raises(DataError, match="rank 2 needs more than 2 dimensions"):
        fit_sign_axis(x, fit_eraser(x, labels))


@pytest.mark.parametrize(
    ("x", "labels", "message"),
    [
        (np.ones((5, 6)), np.arange(5), "5 samples"),
        (np.random.default_rng(0).normal(size=(9, 2)), np.zeros(9, int), "1 classes"),
        (np.full((9, 2), np.nan), np.arange(9), "18 values not finite"),
    ],
)
def test_eraser_refuses_what_it_cannot_fit(x, labels, message):
    with pytest.raises(DataError, match=message):
        fit_eraser(x, labels)


@pytest.fixture
def folder(tmp_path):
    vit = Vit(CONFIG).initialise(generator=torch.Generator().manual_seed(0))
    save_tiny(vit, tmp_path, "pre")
    return tmp_path


def fit_in(folder):
    rng = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (60, 3, 16, 16), generator=rng, dtype=torch.uint8)
    labels = np.arange(60) % 3
    tokens = load_tiny("pre", folder)(pixels, [0, 1])
    features = {block: tokens[block].patches.mean(dim=1).numpy() for block in tokens}
    fit_planted(features, labels, folder)
    return pixels, labels, features


@pytest.mark.parametrize("kind", OPERATIONS)
def test_fit_and_load_through_the_folder(folder, kind):
    pixels, labels, features = fit_in(folder)
    encoder = load_planted(kind, folder)
    after = encoder(pixels, [1])[1].patches.mean(dim=1).numpy()
    if kind == "erased":
        means = np.stack([after[labels == name].mean(axis=0) for name in range(3)])
        np.testing.assert_allclose(means, means[[1, 2, 0]], atol=1e-5)
    assert np.array_equal(after, features[1]) == (kind == "identity")
    assert encoder.info.digest == load_planted(kind, folder).info.digest


def test_load_refuses_a_missing_fit_and_a_fit_on_other_weights(folder):
    with pytest.raises(WeightsError, match=r"planted\.safetensors"):
        load_planted("erased", folder)
    fit_in(folder)
    save_tiny(Vit(CONFIG).initialise(generator=torch.Generator().manual_seed(1)), folder, "pre")
    with pytest.raises(WeightsError, match="fitted on other weights"):
        load_planted("noise", folder)
    load_planted("rotation", folder)  # needs no fit


def test_fit_refuses_a_missing_block(folder):
    with pytest.raises(DataError, match=r"blocks 0 to 1, but got \[1\]"):
        fit_planted({1: np.zeros((60, 16))}, np.arange(60) % 3, folder)
