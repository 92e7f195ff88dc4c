"""The pass over batches: products against gradients by other means, and what is refused."""

import numpy as np
import pytest
import torch
from torch import nn

from degradation.encoders.vit import Vit, VitConfig
from degradation.errors import ConfigError, DataError
from probes.conflict.leaves import leaves_of
from probes.conflict.measure import Objective, bytes_needed, measure

BATCHES, ROWS = 4, 6


def small_vit():
    """A tower of 1,400 parameters in seven leaves."""
    config = VitConfig(size=8, patch=4, width=8, depth=2, heads=2, mlp=12)
    return Vit(config).initialise(generator=torch.Generator().manual_seed(0))


def vit_tasks(vit, tasks=3, *, micro=1, scale=(1.0, 1.0, 1.0)):
    """Objectives that read the last block through heads of their own."""
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randn(tasks, BATCHES, ROWS, 3, 8, 8, generator=generator)
    heads = torch.randn(tasks, 8, generator=generator)

    def losses(task, m):
        for rows in pixels[task, m].chunk(micro):
            pooled = vit(rows, [1])[1].patches.mean(dim=1)
            yield scale[task] * ((pooled @ heads[task]) ** 2).sum() / ROWS

    return [
        Objective(f"task {task}", lambda m, task=task: losses(task, m)) for task in range(tasks)
    ]


def by_jacobian(vit, objectives):
    """Gradients (T, M, P) in float64 by leaf order, from explicit Jacobians."""
    parameters = dict(vit.named_parameters())
    order = [name for members in leaves_of(list(parameters)).values() for name in members]

    def all_losses(*values):
        with torch.nn.utils.stateless._reparametrize_module(
            vit, dict(zip(order, values, strict=True))
        ):
            return torch.stack([sum(one.losses(m)) for one in objectives for m in range(BATCHES)])

    found = torch.autograd.functional.jacobian(
        all_losses, tuple(parameters[name].detach() for name in order)
    )
    flat = torch.cat([each.flatten(1) for each in found], dim=1).double().numpy()
    return flat.reshape(len(objectives), BATCHES, -1)


def test_products_equal_those_of_explicit_jacobians_by_leaf():
    vit = small_vit()
    objectives, parameters = vit_tasks(vit), dict(vit.named_parameters())
    products = measure(objectives, parameters, batches=BATCHES, seed=0)
    gradients = by_jacobian(vit, objectives)
    assert sum(products.parameters) == gradients.shape[2]
    cuts = np.cumsum(products.parameters)[:-1]
    for leaf, own in enumerate(np.split(gradients, cuts, axis=2)):
        gram = np.einsum("imp,jnp->imjn", own, own)
        scale = np.abs(gram).max()
        sums = own.sum(axis=1)
        np.testing.assert_allclose(products.total[leaf], sums @ sums.T, atol=2e-6 * scale * 16)
        same = np.einsum("imjm->mij", gram)
        np.testing.assert_allclose(products.same[leaf], same, atol=2e-6 * scale)
        following = np.stack([gram[:, m, :, m + 1].diagonal() for m in range(BATCHES - 1)])
        np.testing.assert_allclose(products.following[leaf], following, atol=2e-6 * scale)
        # Leaves this small are their own sketches.
        np.testing.assert_allclose(products.gram[leaf], gram, atol=2e-6 * scale)
    losses = [[sum(one.losses(m)).item() for one in objectives] for m in range(BATCHES)]
    np.testing.assert_allclose(products.losses, losses, rtol=1e-6)
    assert products.exact
    assert not products.preconditioned


def test_products_equal_the_gramian_of_torchjd():
    autogram = pytest.importorskip("torchjd.autogram")
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(9, 20), nn.GELU(), nn.LayerNorm(20), nn.Linear(20, 5))
    rows = torch.randn(3, BATCHES, ROWS, 9, generator=generator)
    heads = torch.randn(3, 5, generator=generator)

    def loss(task, m):
        return ((model(rows[task, m]) @ heads[task]) ** 2).mean()

    objectives = [Objective(str(i), lambda m, i=i: [loss(i, m)]) for i in range(3)]
    products = measure(objectives, dict(model.named_parameters()), batches=BATCHES, seed=0)
    engine = autogram.Engine(model, batch_dim=None)
    for m in range(BATCHES):
        gramian = engine.compute_gramian(torch.stack([loss(task, m) for task in range(3)]))
        found = products.same[:, m].sum(axis=0)
        np.testing.assert_allclose(found, gramian.detach().numpy(), rtol=1e-5, atol=1e-7)


def test_micro_batches_change_nothing_but_rounding():
    vit = small_vit()
    parameters = dict(vit.named_parameters())
    whole = measure(vit_tasks(vit), parameters, batches=BATCHES, seed=0)
    parts = measure(vit_tasks(vit, micro=3), parameters, batches=BATCHES, seed=0)
    np.testing.assert_allclose(parts.total, whole.total, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(parts.losses, whole.losses, rtol=1e-6)


def test_sketches_alone_agree_with_exact_products_within_the_stated_error():
    torch.manual_seed(0)
    model = nn.Linear(300, 200, bias=False)
    inputs = torch.randn(2, 6, 8, 300)
    targets = torch.randn(2, 6, 8, 200)
    objectives = [
        Objective(str(i), lambda m, i=i: [(model(inputs[i, m]) - targets[i, m]).pow(2).mean()])
        for i in range(2)
    ]
    parameters, k = {"blocks.0.mlp.fc1.weight": model.weight}, 4099
    exact = measure(objectives, parameters, batches=6, k=k, seed=0)
    alone = measure(objectives, parameters, batches=6, k=k, seed=0, exact=False)
    assert alone.cells == (k,)
    assert not alone.exact
    np.testing.assert_array_equal(alone.gram, exact.gram)
    length = np.sqrt(np.einsum("gmii->gmi", exact.same))
    sizes = length[..., :, None] * length[..., None, :]
    errors = (alone.same - exact.same) / sizes
    assert np.sqrt((errors**2).mean()) < 2 / np.sqrt(k)
    lengths = np.sqrt(exact.total.diagonal(axis1=1, axis2=2))
    sizes = lengths[..., :, None] * lengths[..., None, :]
    assert np.abs((alone.total - exact.total) / sizes).max() < 5 / np.sqrt(k)
    steps = length[:, :-1] * length[:, 1:]
    assert np.abs((alone.following - exact.following) / steps).max() < 5 / np.sqrt(k)


def test_exact_products_of_long_gradients_agree_with_float64():
    """Runs, their remainders and several leaves: 400,003 entries against direct sums."""
    generator = torch.Generator().manual_seed(0)
    sizes = {
        "patch_embed.weight": 3,
        "blocks.0.mlp.fc1.weight": 400_003,
        "blocks.1.norm1.weight": 7,
    }
    parameters = {name: nn.Parameter(torch.zeros(size)) for name, size in sizes.items()}
    gradients = torch.randn(2, 3, sum(sizes.values()), generator=generator)
    pieces = [one.split(list(sizes.values())) for one in gradients.flatten(0, 1)]
    objectives = [
        Objective(
            str(i),
            lambda m, i=i: [
                sum((p @ g) for p, g in zip(parameters.values(), pieces[3 * i + m], strict=True))
            ],
        )
        for i in range(2)
    ]
    products = measure(objectives, parameters, batches=3, seed=0)
    wide = gradients.double().numpy()
    sums = wide.sum(axis=1)
    np.testing.assert_allclose(products.total.sum(axis=0), sums @ sums.T, rtol=1e-6, atol=1e-2)
    same = np.einsum("imp,jmp->mij", wide, wide)
    np.testing.assert_allclose(products.same.sum(axis=0), same, rtol=1e-5, atol=1e-2)
    error = products.gram[1, 0, 0, 1, 1] - wide[0, 0, 3:-7] @ wide[1, 1, 3:-7]
    assert abs(error) < 5 * 400_003 / np.sqrt(products.cells[1])


def test_the_adam_metric_is_a_change_of_parameters():
    """A parameter x = D^(-1/2) y has the gradient D^(-1/2) g: products in y are <g, D^-1 g>."""
    vit = small_vit()
    parameters = dict(vit.named_parameters())
    generator = torch.Generator().manual_seed(5)
    metric = {
        name: torch.rand(parameter.shape, generator=generator) + 0.1
        for name, parameter in parameters.items()
    }
    products = measure(vit_tasks(vit), parameters, batches=BATCHES, seed=0, preconditioner=metric)
    assert products.preconditioned
    flat = np.concatenate(
        [
            metric[name].flatten().double().numpy()
            for members in leaves_of(list(parameters)).values()
            for name in members
        ]
    )
    gradients = by_jacobian(vit, vit_tasks(vit)) / np.sqrt(flat)
    sums = gradients.sum(axis=1)
    np.testing.assert_allclose(products.total.sum(axis=0), sums @ sums.T, rtol=1e-4)


def test_low_precision_gradients_are_added_in_float32():
    """256 + 1 is 256 in bfloat16."""
    weight = nn.Parameter(torch.zeros(4, dtype=torch.bfloat16))
    objective = [
        Objective(name, lambda m: [(weight * size).float().sum() for size in (256.0, 1.0)])
        for name in ("one", "two")
    ]
    products = measure(objective, {"connector.weight": weight}, batches=2, seed=0)
    assert products.same[0, 0, 0, 0] == 4 * 257.0**2


def test_gradients_of_the_model_are_left_alone_and_numbers_repeat():
    vit = small_vit()
    parameters = dict(vit.named_parameters())
    for parameter in parameters.values():
        parameter.grad = torch.full_like(parameter, 3.0)
    with torch.no_grad():
        one = measure(vit_tasks(vit), parameters, batches=BATCHES, seed=0)
    two = measure(vit_tasks(vit), parameters, batches=BATCHES, seed=0)
    np.testing.assert_array_equal(one.total, two.total)
    np.testing.assert_array_equal(one.gram, two.gram)
    assert all((parameter.grad == 3).all() for parameter in parameters.values())


def test_a_part_that_a_loss_does_not_reach_has_no_gradient_there():
    vit = small_vit()
    inner = Objective(
        "inner", lambda m: [vit(torch.ones(1, 3, 8, 8) * (m + 1), [0])[0].patches[0, 0, 0]]
    )
    products = measure(
        [vit_tasks(vit)[0], inner], dict(vit.named_parameters()), batches=BATCHES, seed=0
    )
    beyond = [leaf.block == 1 for leaf in products.leaves]
    assert (products.total[beyond, 1] == 0).all()
    assert (products.total[~np.array(beyond), 1, 1] > 0).all()


def test_memory_is_stated():
    parameters = {"blocks.0.mlp.fc1.weight": nn.Parameter(torch.zeros(10**6, device="meta"))}
    exact = bytes_needed(parameters, tasks=5, batches=8, k=1000)
    assert exact == 4 * 10**6 * (2 + 2 * 5) + 10**6 + 4 * 40 * 1031 + 4 * 40**2
    assert exact - bytes_needed(parameters, tasks=5, batches=8, k=1000, exact=False) == 40 * 10**6


def constant(value):
    """Losses that are the same tensor whatever the parameters."""
    return lambda m: [torch.tensor(value)]


WEIGHT = nn.Parameter(torch.ones(3))
FINE = Objective("fine", lambda m: [(WEIGHT * (m + 1)).sum()])
PARAMETERS = {"connector.weight": WEIGHT}
BAD = {
    "one task": ([FINE], PARAMETERS, 2, ConfigError, "at least two tasks"),
    "one name": ([FINE, FINE], PARAMETERS, 2, ConfigError, "different names"),
    "one batch": ([FINE, Objective("b", FINE.losses)], PARAMETERS, 1, ConfigError, "two batches"),
    "nothing": ([FINE, Objective("b", FINE.losses)], {}, 2, ConfigError, "found none"),
    "frozen": (
        [FINE, Objective("b", FINE.losses)],
        {"boxes.weight": nn.Parameter(torch.ones(2), requires_grad=False)}, 2, ConfigError,
        "frozen ones: boxes.weight",
    ),
    "twice": (
        [FINE, Objective("b", FINE.losses)], PARAMETERS | {"boxes.weight": WEIGHT}, 2, ConfigError,
        "under two names",
    ),
    "devices": (
        [FINE, Objective("b", FINE.losses)],
        PARAMETERS | {"boxes.weight": nn.Parameter(torch.ones(1, device="meta"))}, 2, ConfigError,
        "one device",
    ),
    "not a number": (
        [FINE, Objective("b", lambda m: [WEIGHT.sum() * float("nan")])], PARAMETERS, 2, DataError,
        "loss of b on batch 0 is nan",
    ),
    "infinite gradient": (
        [FINE, Objective("b", lambda m: [(WEIGHT - WEIGHT.detach()).sqrt().sum()])], PARAMETERS, 2,
        DataError, "gradient of b on batch 0 is not finite",
    ),
    "constant": (
        [FINE, Objective("b", constant(1.0))], PARAMETERS, 2, DataError,
        "loss of b on batch 0 does not depend",
    ),
    "no loss": (
        [FINE, Objective("b", lambda m: [])], PARAMETERS, 2, DataError, "does not depend",
    ),
    "other parameters": (
        [FINE, Objective("b", lambda m: [nn.Parameter(torch.ones(2)).sum()])], PARAMETERS, 2,
        DataError, "does not depend",
    ),
    "flat": (
        [FINE, Objective("b", lambda m: [0 * WEIGHT.sum()])], PARAMETERS, 2, DataError,
        "gradient of b is zero in every batch",
    ),
    "many losses": (
        [FINE, Objective("b", lambda m: [WEIGHT * 1])], PARAMETERS, 2, DataError, r"shape \(3,\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("exact", [True, False])
def test_what_cannot_be_measured_is_refused(case, exact):
    objectives, parameters, batches, error, text = BAD[case]
    with pytest.raises(error, match=text):
        measure(objectives, parameters, batches=batches, seed=0, exact=exact)


@pytest.mark.parametrize(
    ("metric", "text"),
    [
        ({}, "found nothing"),
        ({"connector.weight": torch.ones(2)}, r"found shape \(2,\)"),
        ({"connector.weight": torch.tensor([1.0, 0.0, 1.0])}, "not positive"),
        ({"connector.weight": torch.tensor([1.0, float("nan"), 1.0])}, "not positive"),
    ],
)
def test_a_preconditioner_that_does_not_fit_is_refused(metric, text):
    with pytest.raises(ConfigError, match=text):
        measure(
            [FINE, Objective("b", FINE.losses)], PARAMETERS, batches=2, seed=0,
            preconditioner=metric,
        )  # fmt: skip
