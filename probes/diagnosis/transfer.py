"""Aligned transfer: the probe of the features before, put on the features after.

If the same directions still say the same, the probe reads the features after as they are; if the
features were only turned, it reads them through a rotation; if they were stretched or mixed,
through a linear map. Both maps are fitted on the training rows without labels. What no map brings
back is lost to that probe.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Float64, Int64

from probes.diagnosis.alignment import (
    AffineMap,
    affine_map,
    explained,
    orthogonal_map,
    standardise,
)
from probes.problems import ClassProblem, Features, GazeProblem
from probes.selection import Plan, Stage, read_out

__all__ = ["MAPS", "Fidelity", "Transferred", "transfer"]

MAPS = ("raw", "orthogonal", "affine")
"""From the least to the most that may have changed."""


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How well a map rebuilds the features before on the rows predicted, as R^2.

    Attributes:
        overall: Of all features, z-scored by the rows fitted.
        class_signal: Along the directions in which the class means lie; NaN where there are none.
    """

    overall: float
    class_signal: float


@dataclass(frozen=True, slots=True, eq=False)
class Transferred:
    """What the probe of the features before reads.

    Attributes:
        before: Of those features themselves, rows as in `plan.predicted`, shape (k, c).
        after: Of the features after, by map; without `raw` where the widths differ.
        fidelity: Of the maps, a mean over stages.
    """

    before: Float64[np.ndarray, "k c"]
    after: Mapping[str, Float64[np.ndarray, "k c"]]
    fidelity: Mapping[str, Fidelity]


def transfer(
    problem: ClassProblem | GazeProblem,
    pre: Float[np.ndarray, "n d"],
    post: Float[np.ndarray, "n p"],
    classes: Int64[np.ndarray, " n"],
    plan: Plan,
) -> Transferred:
    """Put the probe of `pre` on `pre` and on every mapping of `post`.

    Args:
        problem: The question, put to `pre`.
        pre: Features of all rows before.
        post: The same after.
        classes: Whose means span the class signal, of all rows; they do not reach the maps.
        plan: Of the question.
    """
    names = [name for name in MAPS if name != "raw" or pre.shape[1] == post.shape[1]]
    parts: dict[str, list[np.ndarray]] = {name: [] for name in ("before", *names)}
    fidelity: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for stage in plan.stages:
        maps = _maps(pre, post, stage)
        mapped = {name: maps[name](post[stage.predict]) for name in names}
        for name, scores in _read(problem, pre, mapped, stage).items():
            parts[name].append(scores)
        mean, scale = standardise(pre[stage.train])
        truth = (pre[stage.predict] - mean) * scale
        directions = _class_directions((pre[stage.train] - mean) * scale, classes[stage.train])
        for name, found in mapped.items():
            z = (found - mean) * scale
            zero = np.zeros(z.shape[1])
            fidelity[name].append(
                (explained(truth, z, zero), explained(truth, z, zero, directions))
            )
    order = np.argsort(np.concatenate([stage.predict for stage in plan.stages]))
    scores = {name: np.concatenate(each)[order] for name, each in parts.items()}
    return Transferred(
        before=scores.pop("before"),
        after=scores,
        fidelity={name: Fidelity(*map(float, np.mean(v, axis=0))) for name, v in fidelity.items()},
    )


def _maps(
    pre: Float[np.ndarray, "n d"], post: Float[np.ndarray, "n p"], stage: Stage
) -> dict[str, AffineMap]:
    """The maps by name; they see the rows fitted and no labels."""
    d, p = post.shape[1], pre.shape[1]
    rows = stage.train
    return {
        "raw": AffineMap(np.zeros(d), np.eye(d, p), np.zeros(p)),
        "orthogonal": orthogonal_map(post[rows], pre[rows]),
        "affine": affine_map(post, pre, stage.trials, rows),
    }


def _read(
    problem: ClassProblem | GazeProblem,
    pre: Float[np.ndarray, "n d"],
    mapped: Mapping[str, Float64[np.ndarray, "m d"]],
    stage: Stage,
) -> dict[str, Float64[np.ndarray, "m c"]]:
    """Scores of the predicted rows by the probe of the features before.

    The mapped rows are put under the table, so that one readout chooses, fits and predicts all.
    """
    n, m = len(pre), len(stage.predict)
    origin = np.concatenate([np.arange(n), np.tile(stage.predict, len(mapped))])
    features = Features(np.concatenate([pre, *mapped.values()]))
    if isinstance(problem, GazeProblem):
        longer = replace(
            problem, features=features, phi=problem.phi[origin], targets=problem.targets[origin]
        )
    else:
        longer = replace(problem, features=features, labels=problem.labels[origin])
    predict = np.concatenate([stage.predict, np.arange(n, n + m * len(mapped))])
    scores = read_out(longer, Plan((Stage(stage.trials, stage.train, predict),), "")).scores
    # read_out returns rows in table order; mapped rows keep theirs, those of the table are sorted.
    first = scores[:m][np.argsort(np.argsort(stage.predict))]
    return {"before": first} | {
        name: scores[m * k : m * (k + 1)] for k, name in enumerate(mapped, start=1)
    }


def _class_directions(
    z: Float64[np.ndarray, "n d"], labels: Int64[np.ndarray, " n"]
) -> Float64[np.ndarray, "d r"]:
    """Orthonormal directions that span the class means around their mean."""
    seen = np.unique(labels[labels >= 0])
    if len(seen) < 2:
        return np.zeros((z.shape[1], 0))
    means = np.stack([z[labels == k].mean(axis=0) for k in seen])
    _, strengths, axes = np.linalg.svd(means - means.mean(axis=0), full_matrices=False)
    return axes[strengths > strengths[0] * 1e-10].T
