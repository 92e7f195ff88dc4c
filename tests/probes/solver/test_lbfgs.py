import numpy as np
import torch
from scipy.optimize import minimize, rosen, rosen_der

from probes.solver.lbfgs import diagonal, minimise


def quadratics(b, p, condition, seed):
    """Batched quadratics with known minima, and an objective that counts its problems."""
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(b, p, p, generator=generator, dtype=torch.float64)
    q, _ = torch.linalg.qr(root)
    spread = torch.logspace(0, np.log10(condition), p, dtype=torch.float64)
    matrix = q @ torch.diag(spread) @ q.transpose(1, 2)
    target = torch.randn(b, p, generator=generator, dtype=torch.float64)
    seen = []

    def objective(x, which):
        seen.append(len(which))
        offset = x - target[which]
        gradient = (matrix[which] @ offset[..., None])[..., 0]
        return (offset * gradient).sum(1) / 2, gradient

    return objective, target, seen


def test_batched_quadratics_reach_their_minima():
    objective, target, _ = quadratics(5, 12, 1e4, 0)
    found = minimise(objective, torch.zeros_like(target), tolerance=1e-9, max_iterations=500)
    assert found.converged.all()
    assert torch.allclose(found.x, target, atol=1e-8)
    assert (found.gradient_norm <= 1e-9).all()


def test_each_problem_walks_as_it_would_alone():
    objective, target, _ = quadratics(3, 6, 100, 1)
    start = torch.ones_like(target)
    together = minimise(objective, start, tolerance=1e-8, max_iterations=200)
    for i in range(3):
        alone = minimise(
            lambda x, which, i=i: objective(x, which * 0 + i), start[i : i + 1],
            tolerance=1e-8, max_iterations=200,
        )  # fmt: skip
        assert alone.iterations.item() == together.iterations[i].item()
        assert torch.allclose(alone.x[0], together.x[i], atol=1e-12)


def test_finished_problems_drop_out_of_the_passes():
    objective, target, seen = quadratics(4, 10, 1e4, 2)
    start = target.clone()
    start[3] += 1
    found = minimise(objective, start, tolerance=1e-9, max_iterations=300)
    assert seen[0] == 4
    assert set(seen[1:]) == {1}
    assert found.iterations.tolist()[:3] == [0, 0, 0]
    assert torch.equal(found.x[:3], target[:3])


def test_rosenbrock_as_scipy_finds_it():
    starts = np.array([[-1.2, 1.0, 0.5], [2.0, -1.0, 0.0]])

    def objective(x, _):
        points = x.numpy()
        value = torch.from_numpy(np.array([rosen(one) for one in points]))
        return value, torch.from_numpy(np.stack([rosen_der(one) for one in points]))

    found = minimise(objective, torch.from_numpy(starts), tolerance=1e-8, max_iterations=300)
    for start, x in zip(starts, found.x.numpy(), strict=True):
        reference = minimize(rosen, start, jac=rosen_der, method="BFGS", options={"gtol": 1e-9})
        np.testing.assert_allclose(x, reference.x, atol=1e-6)


def test_the_right_metric_solves_a_diagonal_quadratic_at_once():
    scale = torch.logspace(0, 8, 9, dtype=torch.float64)[None]

    def objective(x, _):
        return (scale * (x - 1) ** 2).sum(1) / 2, scale * (x - 1)

    start = torch.zeros(1, 9, dtype=torch.float64)
    kept = minimise(objective, start, tolerance=1e-6, max_iterations=50, metric=diagonal(1 / scale))
    assert kept.converged.all()
    assert kept.iterations.item() <= 4
    assert not minimise(objective, start, tolerance=1e-6, max_iterations=10).converged.any()


def test_too_few_steps_are_reported():
    objective, target, _ = quadratics(1, 20, 1e6, 3)
    found = minimise(objective, torch.zeros_like(target), tolerance=1e-12, max_iterations=3)
    assert not found.converged.any()
    assert found.iterations.item() == 3


def test_a_tolerance_below_rounding_ends_without_converging():
    objective, target, _ = quadratics(2, 8, 1e3, 4)
    found = minimise(
        lambda x, which: (objective(x, which)[0] + 1e6, objective(x, which)[1]),
        torch.zeros_like(target), tolerance=0.0, max_iterations=10_000,
    )  # fmt: skip
    assert found.iterations.max() < 10_000
    # The value near 1e6 resolves 1e-10, hence points to about 1e-5.
    assert torch.allclose(found.x, target, atol=1e-4)


def test_a_direction_that_leads_uphill_is_not_taken_for_the_minimum():
    objective, target, _ = quadratics(1, 5, 10.0, 5)
    uphill = diagonal(-torch.ones_like(target))
    found = minimise(
        objective, torch.zeros_like(target), tolerance=1e-9, max_iterations=9, metric=uphill
    )
    assert not found.converged.any()
    assert found.decrement > 0
