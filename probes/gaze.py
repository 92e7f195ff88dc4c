"""Linear gaze readout with the head box wired in: a conditional logit over the cells of the grid.

For a person with head features z (the task's pooled regions, z-scored) and head centre q, the
probability that they look at cell j, with centre x_j, is the softmax over the h*w cells of

    logit_j = log prior_j + u_j + a . phi(x_j - q) + z^T A phi(x_j - q)

`prior` is the smoothed map of the training targets and enters as a fixed offset; u, a and A are
fitted. phi is a fixed basis of the displacement from the head: three overlapping rings, each flat
or modulated by the first two harmonics of the angle. So "where the head is" is given to the probe
and z only has to say which way, and how far, the person looks. The loss is the cross-entropy
against the target's share of each cell, plus s / 2 times the squared norm of (u, a, A): convex,
strongly so, hence one optimum. Without z the model is the baseline `head-position`; `centre` is the
prior alone with the mean training target as its point.

Deliberately absent: patch tokens of the looked-at cell, and heatmaps finer than the encoder's grid.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64
from torch import Tensor

from probes.solver.lbfgs import Objective, diagonal, minimise
from probes.solver.logistic import Certificate
from probes.solver.prepared import Prepared

__all__ = [
    "GazePath",
    "cell_centres",
    "cell_of",
    "cell_targets",
    "decode",
    "displacement_basis",
    "fit_gaze",
    "prior_map",
]

RINGS = (0.0, 0.15, 0.35, 0.7)
"""Radii, in picture sides, of the knots of the ring functions; the first has none of its own."""
WAVES = 5
"""Modulations of a ring: flat, and cosine and sine of the first two harmonics of the angle."""
MAX_ITERATIONS = 300
CHUNK_ROWS = 512
"""Rows whose logits are held at once."""
ROUNDING = 0.5
"""Rounding of the objective over many rows, in units of that of one row."""
MEDIAN_STEPS = 100


def cell_centres(grid: tuple[int, int]) -> Float64[np.ndarray, "t 2"]:
    """Centres ((j + 0.5) / w, (i + 0.5) / h) of the cells as xy, raster order, shape (h*w, 2)."""
    h, w = grid
    y, x = np.meshgrid((np.arange(h) + 0.5) / h, (np.arange(w) + 0.5) / w, indexing="ij")
    return np.stack([x.ravel(), y.ravel()], axis=1)


def cell_targets(
    points: Float[np.ndarray, "n a 2"], grid: tuple[int, int]
) -> Float64[np.ndarray, "n t"]:
    """Share of each cell in the target, rows summing to 1.

    A point is shared between the four nearest cell centres by bilinear weights, so that the mean
    of the centres under the shares is the point itself (within half a cell of the border it is
    clamped to the outermost centres). Annotators that are not NaN count equally; a row without any
    is NaN throughout.
    """
    n, t = len(points), grid[0] * grid[1]
    shares = np.zeros((n, t))
    valid = ~np.isnan(points).any(axis=2)
    row, annotator = np.nonzero(valid)
    x = np.clip(points[row, annotator, 0] * grid[1] - 0.5, 0, grid[1] - 1).astype(np.float64)
    y = np.clip(points[row, annotator, 1] * grid[0] - 0.5, 0, grid[0] - 1).astype(np.float64)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    for down in (0, 1):
        for right in (0, 1):
            weight = np.abs(1 - right - (x - left)) * np.abs(1 - down - (y - top))
            column = np.minimum(left + right, grid[1] - 1)
            cell = np.minimum(top + down, grid[0] - 1) * grid[1] + column
            np.add.at(shares, (row, cell), weight)
    count = valid.sum(axis=1, keepdims=True)
    return np.divide(shares, count, out=np.full_like(shares, np.nan), where=count > 0)


def cell_of(points: Float[np.ndarray, "n a 2"], grid: tuple[int, int]) -> Int64[np.ndarray, "n a"]:
    """Index of the cell that holds each point (the nearest for one outside); -1 for NaN."""
    known = np.isfinite(points).all(axis=2)
    x, y = np.moveaxis(np.where(known[..., None], points, 0), 2, 0)
    column = np.clip(np.floor(x * grid[1]), 0, grid[1] - 1).astype(np.int64)
    row = np.clip(np.floor(y * grid[0]), 0, grid[0] - 1).astype(np.int64)
    return np.where(known, row * grid[1] + column, -1)


def prior_map(targets: Float64[np.ndarray, "n t"]) -> Float64[np.ndarray, " t"]:
    """Share of each cell over all rows with one pseudo-row spread evenly: positive, sums to 1."""
    total = targets.sum(axis=0) + 1 / targets.shape[1]
    return total / total.sum()


def displacement_basis(
    heads: Float[np.ndarray, "n 4"], grid: tuple[int, int]
) -> Float32[np.ndarray, "n t m"]:
    """phi: fifteen functions of the displacement of each cell centre from the head centre.

    With r and theta the length and angle of the displacement in normalised coordinates, the rings
    are piecewise linear in r with knots 0, 0.15, 0.35 and 0.7 (the last stays at 1 beyond), and
    each comes times 1, cos theta, sin theta, cos 2 theta and sin 2 theta. All vanish at the head.

    Args:
        heads: Head boxes, normalised xyxy, shape (n, 4).
        grid: Rows and columns (h, w).
    """
    t, shapes = grid[0] * grid[1], (len(RINGS) - 1) * WAVES
    phi = np.empty((len(heads), t, shapes), dtype=np.float32)
    for start in range(0, len(heads), CHUNK_ROWS):
        part = slice(start, start + CHUNK_ROWS)
        phi[part] = _displacement_shapes(heads[part].astype(np.float64), grid)
    return phi


def _displacement_shapes(
    heads: Float64[np.ndarray, "n 4"], grid: tuple[int, int]
) -> Float64[np.ndarray, "n t m"]:
    offset = cell_centres(grid)[None] - (heads[:, None, :2] + heads[:, None, 2:]) / 2
    radius = np.hypot(offset[..., 0], offset[..., 1])
    angle = np.arctan2(offset[..., 1], offset[..., 0])
    rings = [np.interp(radius, RINGS, np.eye(len(RINGS))[k]) for k in range(1, len(RINGS))]
    waves = [np.ones_like(angle)]
    for harmonic in range(1, WAVES // 2 + 1):
        waves += [np.cos(harmonic * angle), np.sin(harmonic * angle)]
    return np.stack([ring * wave for ring in rings for wave in waves], axis=-1)


def decode(heat: Float[np.ndarray, "n t"], grid: tuple[int, int]) -> Float64[np.ndarray, "n 2"]:
    """The predicted point: the one with the least expected distance to the target.

    It is the geometric median of the cell centres under their probabilities, found by Weiszfeld's
    iteration from their mean (Tohoku Math. J. 43, 1937). The peak of the heat, which gaze models
    with fine heatmaps report, errs by more wherever a probe is unsure, most of all between two
    distant cells; so it would favour the baselines that are sure of nothing but the prior.

    Args:
        heat: Probabilities of the cells in raster order, shape (n, h*w).
        grid: Rows and columns (h, w).

    Returns:
        Normalised xy, shape (n, 2), exact to a thousandth of the picture's side or better.
    """
    centres = cell_centres(grid)
    weight = heat.astype(np.float64)
    point = weight @ centres / weight.sum(axis=1, keepdims=True)
    for _ in range(MEDIAN_STEPS):
        distance = np.linalg.norm(point[:, None] - centres, axis=2)
        # At a centre the pull is infinite; a millionth of the picture's side is near enough.
        pull = weight / np.maximum(distance, 1e-6)
        point = pull @ centres / pull.sum(axis=1, keepdims=True)
    return point


@dataclass(frozen=True, slots=True, eq=False)
class GazePath:
    """Fits of b problems, group after group and in each of them strength after strength.

    Attributes:
        prepared: Z-scores and axes of the head features; None for the baseline without them.
        prior: Offset map, shape (t,).
        cells: u, shape (b, t).
        readout: (A, a) in the rotated axes, shape (b, r + 1, m); the last row is a.
        certificate: How exact the fits are.
    """

    prepared: Prepared | None
    prior: Float64[np.ndarray, " t"]
    cells: Float64[Tensor, "b t"]
    readout: Float64[Tensor, "b q m"]
    certificate: Certificate

    def log_probabilities(
        self, x: Float[np.ndarray, "n d"], phi: Float32[np.ndarray, "n t m"]
    ) -> Float64[np.ndarray, "b n t"]:
        """Log-probability of every cell, shape (b, n, t)."""
        (b, t), device = self.cells.shape, self.cells.device
        offset = self.cells[:, None] + torch.from_numpy(np.log(self.prior)).to(device)
        out = np.empty((b, len(x), t))
        for start in range(0, len(x), CHUNK_ROWS):
            part = slice(start, start + CHUNK_ROWS)
            turned = None if self.prepared is None else _turned(self.prepared, x[part])
            z = _with_constant(turned, len(x[part]), torch.float64)
            code = torch.einsum("nq,bqm->nbm", z, self.readout)
            shapes = torch.from_numpy(phi[part]).to(device).double()
            logits = (code @ shapes.transpose(1, 2)).transpose(0, 1) + offset
            out[:, part] = logits.log_softmax(2).cpu().numpy()
        return out


def fit_gaze(
    prepared: Prepared | None,
    phi: Float32[np.ndarray, "n t m"],
    targets: Float64[np.ndarray, "n t"],
    strengths: Sequence[float],
    *,
    counts: Float[np.ndarray, "g n"] | None = None,
    gap: float = 1e-6,
) -> GazePath:
    """Fit all strengths on all groups of rows at once.

    Args:
        prepared: From `probes.solver.prepared.prepare` on the head features of the n rows, in
            memory, which also says where the fits are computed; None for the baseline
            `head-position`, on the CPU.
        phi: From `displacement_basis`, shape (n, t, m).
        targets: From `cell_targets`, without NaN rows, shape (n, t).
        strengths: L2 strengths, positive.
        counts: How often each group holds each row, shape (g, n); one group with every row once
            where absent. Z-scores and prior are those of all rows in every group.
        gap: A fit stops when its gradient proves the objective to be this close to the optimum, in
            nats: it is strongly convex with the strength s as its modulus, so that the gap is at
            most ||gradient||^2 / (2 s).

    Returns:
        The fits with a certificate, whose gap is this bound.
    """
    dtype = torch.float32 if prepared is None else prepared.dtype
    device = torch.device("cpu") if prepared is None else prepared.device
    turned = None if prepared is None else prepared.rows @ prepared.axes
    z = _with_constant(turned, len(phi), dtype)
    counts = np.ones((1, len(phi))) if counts is None else counts
    share = torch.from_numpy(counts / counts.sum(axis=1, keepdims=True)).to(device, dtype)
    s = torch.tensor(list(strengths), dtype=torch.float64, device=device).repeat(len(share))
    group = torch.arange(len(share), device=device).repeat_interleave(len(strengths))
    prior = prior_map(targets)
    chance, wanted = (torch.from_numpy(one).to(device) for one in (prior, targets))
    shapes, (t, m), q = torch.from_numpy(phi).to(device, dtype), phi.shape[1:], z.shape[1]
    minimum = minimise(
        _objective(z, shapes, wanted.to(dtype), chance, share[group], s),
        torch.zeros(len(s), t + q * m, dtype=torch.float64, device=device),
        tolerance=(2 * gap * s.clamp_max(0.1)).sqrt(),
        max_iterations=MAX_ITERATIONS,
        metric=diagonal(1 / (_curvature(z, shapes, chance) + s[:, None])),
        rounding=ROUNDING * torch.finfo(dtype).eps,
    )
    norm = minimum.gradient_norm
    return GazePath(
        prepared=prepared,
        prior=prior,
        cells=minimum.x[:, :t],
        readout=minimum.x[:, t:].reshape(len(s), q, m),
        certificate=Certificate(
            objective=minimum.value.cpu().numpy(),
            gradient_norm=norm.cpu().numpy(),
            iterations=minimum.iterations.cpu().numpy(),
            converged=minimum.converged.cpu().numpy(),
            gap=(norm.square() / (2 * s)).cpu().numpy(),
        ),
    )


def _curvature(
    z: Float[Tensor, "n q"], phi: Float[Tensor, "n t m"], prior: Float64[Tensor, " t"]
) -> Float64[Tensor, " p"]:
    """Diagonal of the Hessian of the log-loss where all parameters are 0."""
    variance = torch.zeros(phi.shape[2], dtype=torch.float64, device=phi.device)
    for part in phi.split(CHUNK_ROWS):
        wide = part.double()
        first = torch.einsum("ntm,t->nm", wide, prior)
        second = torch.einsum("ntm,t->nm", wide.square(), prior)
        variance += (second - first.square()).sum(0)
    square = torch.stack([column.double().square().mean() for column in z.T])
    along = square[:, None] * (variance / len(phi))
    return torch.cat([prior * (1 - prior), along.reshape(-1)])


def _turned(prepared: Prepared, x: Float[np.ndarray, "n d"]) -> Float64[Tensor, "n r"]:
    """Head features of other rows in the rotated axes."""
    return prepared.turn(x).double() @ prepared.axes.double()


def _with_constant(
    z: Float[Tensor, "n r"] | None, n: int, dtype: torch.dtype
) -> Float[Tensor, "n q"]:
    """Head features with a last column of ones, which carries the readout of the position alone."""
    one = torch.ones(n, 1, dtype=dtype, device=None if z is None else z.device)
    return one if z is None else torch.cat([z, one], dim=1)


def _objective(
    z: Float[Tensor, "n q"],
    phi: Float[Tensor, "n t m"],
    targets: Float[Tensor, "n t"],
    prior: Float64[Tensor, " t"],
    share: Float[Tensor, "b n"],
    s: Float64[Tensor, " b"],
) -> Objective:
    """Values and gradients of the problems asked for, in one pass over the rows.

    Products are in the precision of the features, sums over chunks of rows in float64.
    """
    (n, t, m), q, dtype = phi.shape, z.shape[1], z.dtype
    offset = prior.log()

    def evaluate(
        x: Float64[Tensor, "k p"], which: Int64[Tensor, " k"]
    ) -> tuple[Float64[Tensor, " k"], Float64[Tensor, "k p"]]:
        k, strength, weight = len(x), s[which], share[which].T[:, :, None]
        cells = (x[:, :t] + offset).to(dtype)
        readout = x[:, t:].reshape(k, q, m).transpose(0, 1).reshape(q, k * m).to(dtype)
        loss = strength / 2 * x.square().sum(1)
        cell_slope = torch.zeros(k, t, dtype=torch.float64, device=x.device)
        slope = torch.zeros(q, k * m, dtype=torch.float64, device=x.device)
        for start in range(0, n, CHUNK_ROWS):
            rows = slice(start, start + CHUNK_ROWS)
            code = (z[rows] @ readout).view(-1, k, m)
            logits = (code @ phi[rows].transpose(1, 2)).add_(cells)
            norm = logits.logsumexp(dim=2, keepdim=True)
            # Targets sum to one in each row, so the normaliser comes out whole.
            fit = logits @ targets[rows, :, None]
            loss += ((norm - fit) * weight[rows]).sum(dim=(0, 2), dtype=torch.float64)
            residual = logits.sub_(norm).exp_().sub_(targets[rows, None]).mul_(weight[rows])
            cell_slope += residual.sum(0, dtype=torch.float64)
            slope += z[rows].T @ (residual @ phi[rows]).view(-1, k * m)
        gradient = strength[:, None] * x
        gradient[:, :t] += cell_slope
        gradient[:, t:] += slope.view(q, k, m).transpose(0, 1).reshape(k, q * m)
        return loss, gradient

    return evaluate
