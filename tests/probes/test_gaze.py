import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from probes.gaze import (
    cell_centres,
    cell_of,
    cell_targets,
    decode,
    displacement_basis,
    fit_gaze,
    prior_map,
)
from probes.solver.prepared import prepare

GRID = (7, 9)


def planted(n, seed=0, d=12, noise=0.2):
    """People whose features hold direction and distance of their gaze, linearly mixed."""
    rng = np.random.default_rng(seed)
    centre = rng.uniform(0.2, 0.8, (4 * n, 2))
    angle, length = rng.uniform(0, 2 * np.pi, 4 * n), rng.uniform(0.2, 0.5, 4 * n)
    point = centre + length[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    keep = np.nonzero(((point > 0) & (point < 1)).all(axis=1))[0][:n]
    code = [np.cos(angle), np.sin(angle), np.cos(2 * angle), np.sin(2 * angle), 5 * length]
    code = np.stack(code, axis=1)[keep]
    x = code @ rng.normal(size=(5, d)) + noise * rng.normal(size=(len(keep), d))
    boxes = np.concatenate([centre - 0.05, centre + 0.05], axis=1)[keep].astype(np.float32)
    return x.astype(np.float32), boxes, point[keep, None].astype(np.float32)


def test_cells_are_in_raster_order_with_centred_coordinates():
    centres = cell_centres((2, 3))
    np.testing.assert_allclose(centres[0], [1 / 6, 1 / 4])
    np.testing.assert_allclose(centres[1], [3 / 6, 1 / 4])
    np.testing.assert_allclose(centres[3], [1 / 6, 3 / 4])
    np.testing.assert_array_equal(
        cell_of(centres[:, None].astype(np.float32), (2, 3))[:, 0], range(6)
    )


@settings(max_examples=40, deadline=None)
@given(x=st.floats(0, 1), y=st.floats(0, 1))
def test_the_mean_cell_centre_of_a_target_is_the_point(x, y):
    points = np.array([[[x, y]]])
    shares = cell_targets(points, GRID)
    assert shares.sum() == pytest.approx(1)
    h, w = GRID
    inside = np.clip([x, y], [0.5 / w, 0.5 / h], [1 - 0.5 / w, 1 - 0.5 / h])
    np.testing.assert_allclose(shares @ cell_centres(GRID), [inside], atol=1e-9)


def test_annotators_count_equally_and_nan_not_at_all():
    points = np.array([[[0.1, 0.1], [0.9, 0.9], [np.nan, np.nan]], np.full((3, 2), np.nan)])
    shares = cell_targets(points, GRID)
    one, two = (cell_targets(points[:1, i : i + 1], GRID) for i in (0, 1))
    np.testing.assert_allclose(shares[:1], (one + two) / 2)
    assert np.isnan(shares[1]).all()
    np.testing.assert_array_equal(cell_of(points, GRID)[1], [-1, -1, -1])


def test_points_outside_fall_into_the_nearest_cell():
    points = np.array([[[-0.2, 0.5], [1.0, 1.3]]])
    np.testing.assert_array_equal(cell_of(points, (2, 2)), [[2, 3]])


def test_decoding_minimises_the_expected_distance():
    rng = np.random.default_rng(0)
    heat = rng.dirichlet(np.full(63, 0.1), size=20)
    centres = cell_centres(GRID)
    for probability, point in zip(heat, decode(heat, GRID), strict=True):

        def risk(xy, probability=probability):
            return probability @ np.linalg.norm(centres - xy, axis=1)

        best = minimize(risk, probability @ centres, method="Nelder-Mead", options={"xatol": 1e-6})
        assert risk(point) <= best.fun + 1e-5


def test_a_certain_cell_decodes_to_its_centre_and_a_tie_to_the_point_between():
    heat = np.zeros((3, 63))
    heat[0, 0] = 1.0
    heat[1, [31, 32]] = 0.5
    heat[2, [31, 62]] = [0.7, 0.3]  # more than half in one cell: its centre is the median
    centres = cell_centres(GRID)
    expected = [centres[0], (centres[31] + centres[32]) / 2, centres[31]]
    np.testing.assert_allclose(decode(heat, GRID), expected, atol=1e-3)


def test_the_basis_moves_with_the_head_and_turns_with_the_angle():
    grid = (16, 16)
    boxes = np.array([[0.25, 0.25, 0.5, 0.5], [0.375, 0.25, 0.625, 0.5]], np.float32)
    phi = displacement_basis(boxes, grid).reshape(2, 16, 16, 15)
    np.testing.assert_allclose(phi[0, :, :-2], phi[1, :, 2:], atol=1e-6)
    assert phi.shape[-1] == 15
    # To the right of the head the cosine of the first ring is positive, to the left negative.
    assert phi[0, 6, 8, 1] > 0.1
    assert phi[0, 6, 3, 1] < -0.1
    at_a_cell = displacement_basis(np.array([[0.5, 0.5, 0.5625, 0.5625]], np.float32), grid)
    np.testing.assert_allclose(at_a_cell[0, 8 * 16 + 8], 0, atol=1e-6)


def test_the_optimum_is_scipys():
    x, boxes, points = planted(40, d=2)
    grid = (3, 4)
    phi, targets = displacement_basis(boxes, grid), cell_targets(points, grid)
    prepared = prepare(x.astype(np.float64))
    path = fit_gaze(prepared, phi, targets, [0.01, 1.0], gap=1e-13)
    turned = (prepared.rows @ prepared.axes).numpy()
    z = np.concatenate([turned, np.ones((len(x), 1))], axis=1)
    offset = np.log(prior_map(targets))

    def value(parameters, strength):
        cells, readout = parameters[:12], parameters[12:].reshape(3, 15)
        logits = offset + cells + np.einsum("nq,qm,ntm->nt", z, readout, phi)
        norm = np.log(np.exp(logits).sum(axis=1))
        return (
            norm - (targets * logits).sum(axis=1)
        ).mean() + strength / 2 * parameters @ parameters

    for i, strength in enumerate([0.01, 1.0]):
        reference = minimize(value, np.zeros(57), args=(strength,), options={"gtol": 1e-7})
        ours = np.concatenate([path.cells[i].numpy(), path.readout[i].numpy().ravel()])
        np.testing.assert_allclose(ours, reference.x, atol=1e-4)
    assert (path.certificate.gap <= 1e-13).all()


def test_planted_directions_are_read_and_beat_the_head_position():
    x, boxes, points = planted(600)
    phi, targets = displacement_basis(boxes, GRID), cell_targets(points, GRID)
    fit, test = slice(0, 450), slice(450, 600)
    strengths = [1e-3, 1e-2]
    path = fit_gaze(prepare(x[fit]), phi[fit], targets[fit], strengths)
    position = fit_gaze(None, phi[fit], targets[fit], strengths)

    def errors(model, features):
        heat = np.exp(model.log_probabilities(features, phi[test]))
        np.testing.assert_allclose(heat.sum(axis=2), 1)
        return [np.linalg.norm(decode(one, GRID) - points[test, 0], axis=1).mean() for one in heat]

    read, blind = errors(path, x[test]), errors(position, np.zeros((150, 0)))
    assert max(read) < 0.08
    assert min(blind) > 0.25
    assert path.certificate.gap.max() < 1e-4


def test_strong_penalties_leave_the_prior():
    x, boxes, points = planted(80)
    phi, targets = displacement_basis(boxes, GRID), cell_targets(points, GRID)
    path = fit_gaze(prepare(x), phi, targets, [1e6])
    heat = np.exp(path.log_probabilities(x, phi))[0]
    np.testing.assert_allclose(heat, np.tile(prior_map(targets), (80, 1)), atol=1e-4)
    assert prior_map(targets).min() > 0


def test_counts_are_repeated_rows_under_the_same_prior():
    x, boxes, points = planted(60, d=3)
    phi, targets = displacement_basis(boxes, GRID), cell_targets(points, GRID)
    prepared, counts = prepare(x.astype(np.float64)), np.arange(60) % 3
    both = np.stack([np.ones(60), counts])
    path = fit_gaze(prepared, phi, targets, [0.01, 1.0], counts=both, gap=1e-12)
    plain = fit_gaze(prepared, phi, targets, [0.01, 1.0], gap=1e-12)
    np.testing.assert_allclose(path.readout[:2], plain.readout, atol=1e-6)
    # At the optimum of the counted rows the gradient of the counted objective vanishes.
    p = np.exp(path.log_probabilities(x.astype(np.float64), phi))[2]
    pull = (counts[:, None] * (p - targets)).sum(axis=0) / counts.sum()
    np.testing.assert_allclose(pull + 0.01 * path.cells[2].numpy(), 0, atol=1e-5)
