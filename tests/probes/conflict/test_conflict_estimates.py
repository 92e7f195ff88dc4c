"""What the products say: known angles, properties, and slow sums over batches."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from torch import nn

from degradation.errors import PairingError
from probes.conflict.changes import changes
from probes.conflict.estimates import estimate, wilson, word_of
from probes.conflict.measure import Objective, measure
from probes.conflict.null import swap_null
from probes.conflict.simulation import noisy_gradients, products_of
from probes.conflict.sizes import by_size, merged
from probes.conflict.unbiased import covariances, cross_mean, kernels


def whole(products, **options):
    """The estimate of the first two tasks on all parameters."""
    return estimate(products, seed=0, **{"draws": 0} | options).pairs[0]


def planted(cosine, *, signal=(1.0, 1.0), batches=16, seed=0, **options):
    """Gradients of two tasks with a known cosine."""
    rng = np.random.default_rng(seed)
    return noisy_gradients(cosine, signal, batches, rng=rng, **options)


@pytest.mark.parametrize("degrees", [0, 37, 90, 120, 180])
def test_quadratic_losses_at_any_angle(degrees):
    """The loss |x - c|^2 / 2 has the gradient x - c; noise in c moves the raw number only."""
    angle, rng = np.deg2rad(degrees), np.random.default_rng(degrees)
    x = nn.Parameter(torch.zeros(40))
    centres = np.zeros((2, 1, 40))
    centres[0, 0, 0], centres[1, 0, :2] = 1, (np.cos(angle), np.sin(angle))
    noisy = torch.from_numpy(centres + 0.25 * rng.normal(size=(2, 32, 40))).float()
    objectives = [
        Objective(str(i), lambda m, i=i: [(x - noisy[i, m]).pow(2).sum() / 2]) for i in range(2)
    ]
    products = measure(objectives, {"connector.weight": x}, batches=32, seed=0)
    found = whole(products)
    assert found.cosine.low <= np.cos(angle) <= found.cosine.high
    assert found.cosine.high - found.cosine.low < 0.3
    # Noise has 2.5 times the squared length of the signal, so raw cosines are 3.5 times too small.
    assert 1 - found.raw == pytest.approx(np.cos(angle) / 3.5, abs=0.1)
    assert found.word == {0: "aligned", 37: "aligned", 90: "unclear"}.get(degrees, "conflict")
    alone = measure(objectives, {"connector.weight": x}, batches=32, seed=0, exact=False)
    assert whole(alone).cosine.value == pytest.approx(found.cosine.value, abs=1e-4)


@pytest.mark.parametrize("angle", [0.0, 0.5, 90.0, 180.0])
def test_without_noise_all_numbers_agree(angle):
    gradients = np.zeros((2, 4, 6))
    gradients[0, :, 2] = 2
    gradients[1, :, 2:4] = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    found = estimate(products_of(gradients), seed=0, draws=50)
    pair = found.pairs[0]
    expected = np.cos(np.deg2rad(angle))
    for number in (1 - pair.raw, 1 - pair.raw_of_means, pair.cosine.value, pair.cosine.low):
        assert number == pytest.approx(expected, abs=1e-6)
    assert pair.floor == pytest.approx(0)
    assert pair.norm_ratio.value == pytest.approx(2)
    assert [task.signal.value for task in found.tasks[:2]] == pytest.approx([2, 1])


def test_by_slow_sums_over_pairs_of_batches():
    gradients = planted(0.3, batches=6, width=12)
    found = estimate(products_of(gradients, leaves=3), seed=0, draws=0)
    for pair, part in zip(found.pairs, found.parts, strict=True):
        columns = np.concatenate([np.arange(12).reshape(3, 4)[leaf] for leaf in part.members])
        own = gradients[:, :, columns]
        u = np.zeros((2, 2))
        for i in range(2):
            for j in range(2):
                u[i, j] = np.mean([own[i, m] @ own[j, n] for m, n in permutations(range(6), 2)])
        weak = [f"task {i}" for i in range(2) if u[i, i] <= 0]
        assert list(pair.below_floor) == weak
        if not weak:
            assert pair.cosine.value == pytest.approx(u[0, 1] / np.sqrt(u[0, 0] * u[1, 1]))
            assert pair.norm_ratio.value == pytest.approx(np.sqrt(u[0, 0] / u[1, 1]))
        cos = [
            own[0, m] @ own[1, m] / np.linalg.norm(own[0, m]) / np.linalg.norm(own[1, m])
            for m in range(6)
        ]
        assert pair.raw == pytest.approx(1 - np.mean(cos))
        assert pair.in_conflict.value == pytest.approx(np.mean(np.array(cos) < 0))
        means = own.mean(axis=1)
        lengths = np.linalg.norm(means, axis=1)
        assert pair.raw_of_means == pytest.approx(1 - means[0] @ means[1] / lengths.prod())
        steps = [
            own[i, m] @ own[i, m + 1] / np.linalg.norm(own[i, m]) / np.linalg.norm(own[i, m + 1])
            for i in range(2)
            for m in range(5)
        ]
        assert pair.floor == pytest.approx(1 - np.mean(steps))


def test_the_jackknife_and_the_unbiased_variance_by_slow_sums():
    gradients = planted(0.5, batches=7, width=10)
    products = products_of(gradients)
    kernel = kernels(products.gram[0].astype(float))
    spread = covariances(kernel)
    u = kernel.sum(axis=(1, 2)) / (7 * 6)
    without = []
    for left_out in range(7):
        own = np.delete(gradients, left_out, axis=1)
        less = products_of(own)
        without.append(cross_mean(less.total, less.same)[0][np.triu_indices(2)])
    jackknife = 6 * np.cov(np.array(without).T, ddof=0)
    np.testing.assert_allclose(spread.least / 0.75, jackknife, rtol=1e-4)
    # Var U = E U^2 - (E U)^2, the latter from products of pairs that share no batch.
    disjoint = np.zeros((3, 3))
    count = 0
    for a, b, c, d in permutations(range(7), 4):
        disjoint += np.outer(kernel[:, a, b], kernel[:, c, d])
        count += 1
    np.testing.assert_allclose(spread.unbiased, np.outer(u, u) - disjoint / count, atol=1e-6)


def test_properties_of_the_degree():
    gradients = planted(0.4)
    pair = whole(products_of(gradients), draws=200)
    swapped = whole(products_of(gradients[::-1].copy()), draws=200)
    assert (swapped.in_conflict, swapped.word) == (pair.in_conflict, pair.word)
    for name in ("raw", "raw_of_means", "floor", "p"):
        assert getattr(swapped, name) == pytest.approx(getattr(pair, name))
    assert swapped.cosine.value == pytest.approx(pair.cosine.value)
    assert swapped.cosine.low == pytest.approx(pair.cosine.low)
    assert swapped.norm_ratio.value == pytest.approx(1 / pair.norm_ratio.value)
    assert swapped.norm_ratio.low == pytest.approx(1 / pair.norm_ratio.high)
    scaled = whole(products_of(gradients * np.array([10, 1])[:, None, None]), draws=200)
    assert scaled.in_conflict == pair.in_conflict
    for name in ("raw", "raw_of_means", "floor", "p"):
        assert getattr(scaled, name) == pytest.approx(getattr(pair, name), rel=1e-5)
    assert scaled.cosine.high == pytest.approx(pair.cosine.high, rel=1e-4)
    assert scaled.norm_ratio.value == pytest.approx(10 * pair.norm_ratio.value)
    opposite = whole(products_of(gradients * np.array([1, -1])[:, None, None]))
    assert opposite.cosine.value == pytest.approx(-pair.cosine.value)
    assert opposite.raw == pytest.approx(2 - pair.raw)


@pytest.mark.parametrize(("sign", "degree"), [(1, 0), (-1, 2)])
def test_a_task_against_itself_on_the_same_batches(sign, degree):
    """The noise is shared by both, and still leaves nothing in the corrected number."""
    own = planted(0.0)[0]
    pair = whole(products_of(np.stack([own, sign * own])))
    assert 1 - pair.cosine.value == pytest.approx(degree, abs=1e-6)
    assert pair.raw == pytest.approx(degree, abs=1e-6)
    assert pair.word == ("aligned" if sign > 0 else "conflict")


def test_shared_pictures_pull_the_raw_number_and_not_the_corrected_one():
    raw, corrected = [], []
    for seed in range(40):
        pair = whole(products_of(planted(0.0, signal=(0.3, 0.3), seed=seed, shared=0.9)))
        raw.append(pair.raw)
        corrected.append(pair.cosine.value)
    assert np.mean(raw) < 0.4
    assert abs(np.mean(corrected)) < 4 * np.std(corrected) / np.sqrt(40) + 0.02


def test_below_floor_names_the_task():
    gradients = np.zeros((3, 4, 5))
    gradients[0, :, 0] = 1
    gradients[1, :, 1] = [1, -1, 1, -1]
    gradients[2, :, 0] = 2
    found = estimate(products_of(gradients), seed=0, draws=20)
    by_pair = {(pair.first, pair.second): pair for pair in found.pairs if pair.part == "all"}
    weak = by_pair["task 0", "task 1"]
    assert weak.below_floor == ("task 1",)
    assert weak.cosine is None
    assert weak.norm_ratio is None
    assert weak.p is None
    assert weak.word == "below floor"
    assert by_pair["task 0", "task 2"].word == "aligned"
    assert [task.signal is None for task in found.tasks[:3]] == [False, True, False]
    assert word_of(None) == "below floor"


def test_a_leaf_without_gradient_counts_as_orthogonal():
    gradients = planted(0.5, width=20)
    gradients[0, :, :10] = 0
    found = estimate(products_of(gradients, leaves=2), seed=0, draws=20)
    dead = next(pair for pair in found.pairs if pair.part == "attention")
    assert dead.raw == 1
    assert dead.below_floor == ("task 0",)


@pytest.mark.parametrize("batches", [2, 3])
def test_few_batches_give_a_value_and_no_interval(batches):
    found = estimate(
        products_of(planted(0.9, signal=(9.0, 9.0), batches=batches)), seed=0, draws=20
    )
    pair = found.pairs[0]
    assert pair.cosine.value == pytest.approx(0.9, abs=0.5)
    assert (pair.cosine.low, pair.cosine.high) == (None, None)
    assert (pair.norm_ratio.low, found.tasks[0].signal.low) == (None, None)
    assert pair.word == "unclear"


def test_a_weak_denominator_opens_the_interval():
    """Where the signal is hardly above the noise there is no telling how large the cosine is."""
    opened = 0
    for seed in range(30):
        pair = whole(products_of(planted(0.9, signal=(0.05, 0.05), batches=8, seed=seed)))
        opened += pair.cosine is not None and None in (pair.cosine.low, pair.cosine.high)
    assert opened > 10


def test_the_interval_narrows_with_batches():
    widths = []
    for batches in (8, 32):
        cosine = whole(products_of(planted(0.3, batches=batches))).cosine
        widths.append(cosine.high - cosine.low)
    assert widths[1] < widths[0] / 1.5


def test_swapping_labels_by_hand():
    gradients = planted(-0.3, batches=5, width=8)
    products = products_of(gradients)
    square = cross_mean(products.total, products.same)[0].diagonal()
    scaled = gradients / np.sqrt(np.abs(square))[:, None, None]
    rng = np.random.default_rng(3)
    gram = products.gram[0].astype(float)
    null = swap_null(gram, np.array([[0, 1]]), draws=400, rng=np.random.default_rng(3))
    signs = rng.choice((-1.0, 1.0), size=(400, 5))
    far, cosine = [], []
    for swap in np.concatenate([np.ones((1, 5)), signs]):
        one = np.where(swap[:, None] > 0, scaled[0], scaled[1])
        two = np.where(swap[:, None] > 0, scaled[1], scaled[0])
        both = products_of(np.stack([one, two]))
        u = cross_mean(both.total, both.same)[0]
        far.append(u[0, 0] + u[1, 1] - 2 * u[0, 1])
        defined = u[0, 0] > 0 and u[1, 1] > 0
        cosine.append(u[0, 1] / np.sqrt(u[0, 0] * u[1, 1]) if defined else np.nan)
    as_far = np.sum(np.array(far[1:]) >= far[0] - 1e-9)
    assert null.p[0] == pytest.approx((1 + as_far) / 401)
    if np.isnan(cosine[1:]).mean() <= 0.05:
        assert null.low[0] == pytest.approx(np.nanquantile(cosine[1:], 0.025), rel=1e-3)
    else:
        assert np.isnan(null.low[0])


def test_p_tells_apart_tasks_that_differ():
    alike = [
        whole(products_of(planted(1.0, signal=(0.8, 0.2), seed=seed)), draws=99).p
        for seed in range(60)
    ]
    # Valid though one task is noisier than the other; four standard errors of a share of 5 %.
    assert np.mean(np.array(alike) <= 0.05) < 0.05 + 4 * np.sqrt(0.05 * 0.95 / 60)
    assert 0.3 < np.mean(alike) < 0.8
    for cosine in (0.5, -1.0):
        assert whole(products_of(planted(cosine)), draws=199).p == pytest.approx(1 / 200)


def test_the_seed_decides_the_null_and_nothing_else():
    products = products_of(planted(0.9, signal=(0.2, 0.2)))
    one, again = (estimate(products, seed=1, draws=50) for _ in range(2))
    other = estimate(products, seed=2, draws=50)
    assert one == again
    assert one.pairs[0].cosine == other.pairs[0].cosine
    assert one.pairs[0].null_low != other.pairs[0].null_low


def test_larger_batches_are_means_of_consecutive_ones():
    gradients = planted(0.4, batches=11)
    products = products_of(gradients, leaves=2)
    direct = products_of(gradients[:, :10].reshape(2, 5, 2, -1).mean(axis=2))
    pairs = merged(products, 2)
    np.testing.assert_allclose(pairs.total, direct.total, rtol=1e-5)
    np.testing.assert_allclose(pairs.same, direct.same, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(pairs.following, direct.following, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(pairs.gram, direct.gram, rtol=1e-4, atol=1e-5)
    sizes = list(by_size(products))
    assert [(size.merged, size.batches) for size in sizes] == [(1, 11), (2, 5), (4, 2)]
    assert sizes[0].cosine == whole(products).cosine
    assert sizes[1].raw == pytest.approx(whole(direct).raw, rel=1e-5)


def test_raw_and_floor_fall_with_the_size_of_a_batch_and_the_corrected_number_stays():
    sizes = list(by_size(products_of(planted(0.7, signal=(0.3, 0.3), batches=64))))
    assert np.all(np.diff([size.raw for size in sizes[:5]]) < 0)
    assert np.all(np.diff([size.floor for size in sizes[:5]]) < 0)
    for size in sizes[:4]:
        assert size.cosine.low < 0.7 < size.cosine.high


def test_changes_between_sides_are_paired():
    before = planted(0.5, batches=24, signal=(0.5, 0.5))
    assert {change.cosine.value for change in changes(*[products_of(before)] * 2)} == {0.0}
    # The same noise on both sides; one expected gradient turned.
    after = before.copy()
    after[1, :, 5:7] += np.array([-0.5, np.sqrt(1 - 0.25)]) - np.array([0.5, np.sqrt(0.75)])
    sides = [products_of(side, leaves=2) for side in (before, after)]
    change = next(iter(changes(*sides)))
    old, new = (whole(side).cosine for side in sides)
    assert change.cosine.value == pytest.approx(new.value - old.value)
    assert change.cosine.low < -1.0 < change.cosine.high
    assert change.cosine.high < 0
    assert change.cosine.high - change.cosine.low < (new.high - new.low) + (old.high - old.low)
    assert [each.part for each in changes(*sides)] == [
        "all", "block 0", "attention", "mlp", "block 0 attention", "block 0 mlp",
    ]  # fmt: skip


def test_changes_need_the_same_batches():
    products = products_of(planted(0.5))
    with pytest.raises(PairingError, match="16 of task 0, task 1 and 8 of"):
        next(changes(products, products_of(planted(0.5, batches=8))))
    with pytest.raises(PairingError, match="other"):
        next(changes(products, replace(products, tasks=("task 0", "other"))))


@pytest.mark.parametrize(("hits", "tries"), [(0, 8), (3, 8), (8, 8), (40, 100)])
def test_wilson_is_that_of_scipy(hits, tries):
    found = wilson(hits, tries)
    theirs = binomtest(hits, tries).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
