"""How many test images it takes: paired, unpaired, clustered, for a difference and for equivalence.

Of n paired rows, each flips (right before and wrong after, or the other way round) with probability
f, and d is the drop as a fraction: broken minus fixed. Under no drop the broken minus the fixed
have variance n f, under the drop n (f - d^2), so a two-sided test of level alpha has power 1 - beta
with (Miettinen 1968; Connor 1987)

    n = (z_{alpha/2} sqrt(f) + z_beta sqrt(f - d^2))^2 / d^2

Two separate samples need for shares p and p - d (Fleiss, Levin and Paik 2003, without correction)

    n = (z_{alpha/2} sqrt(2 q (1 - q)) + z_beta sqrt(p (1 - p) + (p - d) (1 - p + d)))^2 / d^2

each, with q their mean. Rows in clusters carry less: n grows by the design effect 1 + (m - 1) r
(Kish 1965) with r the correlation of changes within a cluster and m the mean size of the cluster
of a row, sum m^2 / sum m. With Holm over c comparisons, the smallest p is compared with alpha / c:
the plan is for that. Equivalence within a margin e, when nothing differs, takes (two one-sided
tests at level alpha each)

    n = f (z_alpha + z_{beta/2})^2 / e^2
"""

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm

from degradation.errors import ConfigError

__all__ = [
    "design_effect",
    "detectable_drop",
    "equivalence_rows",
    "paired_power",
    "paired_rows",
    "unpaired_rows",
]


def paired_rows(drop: float, flips: float, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """Paired rows to see a drop; not rounded.

    Args:
        drop: Broken minus fixed, as a fraction of the rows.
        flips: Broken plus fixed, as a fraction of the rows.
        alpha: Two-sided level, after any division by the number of comparisons.
        power: Probability of seeing it.

    Raises:
        ConfigError: If a number lies outside its range, or there are fewer flips than the drop.

    Example:
        >>> round(paired_rows(0.04, 0.10))
        488
    """
    _check(drop, flips, alpha, power)
    null, there = norm.isf(alpha / 2) * np.sqrt(flips), norm.isf(1 - power)
    return float((null + there * np.sqrt(flips - drop**2)) ** 2 / drop**2)


def paired_power(n: float, drop: float, flips: float, *, alpha: float = 0.05) -> float:
    """Probability that n paired rows show a drop.

    Example:
        >>> round(paired_power(488.2, 0.04, 0.10), 3)
        0.8
    """
    _check(drop, flips, alpha, 0.8)
    far = drop * np.sqrt(n) - norm.isf(alpha / 2) * np.sqrt(flips)
    return float(norm.cdf(far / np.sqrt(max(flips - drop**2, 1e-300))))


def detectable_drop(n: float, flips: float, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """Smallest drop that n paired rows show with that power; NaN if not even all flips would do.

    Example:
        >>> round(detectable_drop(488.2, 0.10), 3)
        0.04
    """
    _check(flips, flips, alpha, power)
    if paired_rows(flips, flips, alpha=alpha, power=power) > n:
        return float("nan")
    return float(brentq(lambda d: paired_rows(d, flips, alpha=alpha, power=power) - n, 1e-9, flips))


def unpaired_rows(before: float, drop: float, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """Rows of each of two separate samples to see a drop from a score; not rounded.

    Raises:
        ConfigError: Score or drop is out of range.

    Example:
        >>> round(unpaired_rows(0.60, 0.04))
        2389
    """
    _check(drop, 1.0, alpha, power)
    after = before - drop
    if not 0 <= after <= before <= 1:
        raise ConfigError(
            f"Expected a score between 0 and 1 and a drop within it, found {before:g} and "
            f"{drop:g}. Give both as fractions."
        )
    middle = (before + after) / 2
    null = norm.isf(alpha / 2) * np.sqrt(2 * middle * (1 - middle))
    there = norm.isf(1 - power) * np.sqrt(before * (1 - before) + after * (1 - after))
    return float((null + there) ** 2 / drop**2)


def equivalence_rows(
    margin: float, flips: float, *, alpha: float = 0.05, power: float = 0.8
) -> float:
    """Paired rows to show that two equal sides differ by less than a margin, as a fraction.

    Example:
        >>> round(equivalence_rows(0.02, 0.10))
        2141
    """
    _check(min(margin, flips), flips, alpha, power)
    return float(flips * (norm.isf(alpha) + norm.isf((1 - power) / 2)) ** 2 / margin**2)


def design_effect(rows_per_cluster: float, correlation: float) -> float:
    """How many clustered rows are worth one independent row.

    Args:
        rows_per_cluster: Mean size of the cluster of a row, sum m^2 / sum m.
        correlation: Of changes between rows of a cluster.

    Raises:
        ConfigError: If a number lies outside its range.

    Example:
        >>> design_effect(5, 0.3)
        2.2
    """
    if rows_per_cluster < 1 or not 0 <= correlation <= 1:
        raise ConfigError(
            f"Expected at least one row a cluster and a correlation from 0 to 1, found "
            f"{rows_per_cluster:g} and {correlation:g}. See `sdiag plan --help`."
        )
    return 1 + (rows_per_cluster - 1) * correlation


def _check(drop: float, flips: float, alpha: float, power: float) -> None:
    if not (0 < drop <= flips <= 1 and 0 < alpha < 1 and 0 < power < 1):
        raise ConfigError(
            f"Expected a drop above 0 and no larger than the share of rows that flip, and a level "
            f"and a power between 0 and 1; found a drop of {100 * drop:g} points, "
            f"{100 * flips:g} % flips, level {alpha:g} and power {power:g}. A score drops only by "
            "rows that flip: ask for a smaller drop, or expect more flips."
        )
