"""The measures of drift as data: what each is called, cannot see, and can be.

`invariances` says which changes of one side leave a measure alone; the property tests are made
from it, and also test that every change not named does move it. All measures ignore the order of
rows and features.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from probes.drift import anisotropy, cka, classes, neighbours, procrustes, spectrum

__all__ = ["MEASURES", "Change", "Measure"]

Change = Literal["orthogonal", "isotropic scale", "shift", "linear"]
"""Of one side: a rotation or reflection, a factor, a vector added to all rows, any invertible
linear map."""

CENTRED: frozenset[Change] = frozenset({"orthogonal", "isotropic scale", "shift"})
RAW: frozenset[Change] = frozenset({"orthogonal", "isotropic scale"})


@dataclass(frozen=True, slots=True)
class Measure:
    """What is known of a measure before it is computed.

    Attributes:
        label: For people.
        of: What it compares or describes: `pair` f(x, y), `classes pair` f(x, y, labels),
            `side` f(x), `classes side` f(x, labels, clusters), `curve` f(x, k), `classes curve`
            f(x, labels, clusters, k).
        function: On features (n, d).
        invariances: Changes of one side that do not change it.
        low: Lowest value possible; None where the correction for chance has no floor.
        high: Highest value possible; None where that depends on n and d, or as above.
        same: Value of a side with itself; None for a fact about one side.
        source: Where the definition comes from.
    """

    label: str
    of: Literal["pair", "classes pair", "side", "classes side", "curve", "classes curve"]
    function: Callable[..., float]
    invariances: frozenset[Change]
    low: float | None
    high: float | None
    same: float | None
    source: str


MEASURES: dict[str, Measure] = {
    "linear_cka": Measure(
        "linear CKA, unbiased", "pair", cka.linear_cka, CENTRED, -1.0, 1.0, 1.0,
        "Song et al. 2012; Kornblith et al. 2019; Nguyen et al. 2021",
    ),
    "kernel_cka": Measure(
        "RBF CKA, unbiased", "pair", cka.kernel_cka, CENTRED, -1.0, 1.0, 1.0,
        "Song et al. 2012; Kornblith et al. 2019",
    ),
    "mutual_knn": Measure(
        "mutual nearest neighbours", "pair", neighbours.mutual_knn, RAW, 0.0, 1.0, 1.0,
        "Huh et al. 2024",
    ),
    "procrustes_angle": Measure(
        "Procrustes angle (degrees)", "pair", procrustes.procrustes_angle, CENTRED, 0.0, 90.0, 0.0,
        "Williams et al. 2021",
    ),
    "procrustes_explained": Measure(
        "variance explained by a rotation", "pair", procrustes.procrustes_explained, CENTRED,
        0.0, 1.0, 1.0, "Schoenemann 1966",
    ),
    "class_subspace": Measure(
        "class subspace, mean squared cosine", "classes pair", classes.class_subspace, CENTRED,
        0.0, 1.0, 1.0, "Bjoerck and Golub 1973, over rows",
    ),
    "effective_rank": Measure(
        "effective rank, centred", "side", spectrum.effective_rank, CENTRED, 1.0, None, None,
        "Roy and Vetterli 2007",
    ),
    "effective_rank_uncentred": Measure(
        "effective rank, not centred", "side", spectrum.effective_rank_uncentred, RAW,
        1.0, None, None, "Roy and Vetterli 2007",
    ),
    "rankme": Measure(
        "RankMe (not centred)", "side", spectrum.rankme, RAW, 1.0, None, None,
        "Garrido et al. 2023",
    ),
    "participation_ratio": Measure(
        "participation ratio, centred", "side", spectrum.participation_ratio, CENTRED,
        1.0, None, None, "(sum v)^2 / sum v^2",
    ),
    "participation_ratio_uncentred": Measure(
        "participation ratio, not centred", "side", spectrum.participation_ratio_uncentred, RAW,
        1.0, None, None, "(sum v)^2 / sum v^2",
    ),
    "anisotropy": Measure(
        "anisotropy (mean cosine), not centred", "side", anisotropy.anisotropy, RAW,
        -1.0, 1.0, None, "Ethayarajh 2019",
    ),
    "anisotropy_centred": Measure(
        "anisotropy (mean cosine), centred", "side", anisotropy.anisotropy_centred, CENTRED,
        -1.0, 1.0, None, "Ethayarajh 2019",
    ),
    "class_variance": Measure(
        "variance between classes, less chance", "classes side", classes.class_variance, CENTRED,
        None, 1.0, None, "Hays 1963, by cluster",
    ),
    "variance_top": Measure(
        "variance in the first components", "curve", spectrum.top_variance, CENTRED,
        0.0, 1.0, None, "principal components",
    ),
    "class_top": Measure(
        "class signal in the first components", "classes curve", classes.class_top, CENTRED,
        None, None, None, "between-class scatter by principal component",
    ),
    "fisher_top": Measure(
        "Fisher ratio in the first components", "classes curve", classes.fisher_top, CENTRED,
        None, None, None, "Fisher ratio by principal component",
    ),
}  # fmt: skip
