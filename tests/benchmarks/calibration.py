"""How often intervals cover and verdicts err, by simulation: writes docs/calibration.md.

    OMP_NUM_THREADS=1 python tests/benchmarks/calibration.py --out docs/calibration.md

Data sets are made whose true delta is known, and put through the functions that make a record.
Seeded: the same options give the same page.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from probes.statistics.bootstrap import stream
from probes.statistics.coverage import ENOUGH
from probes.statistics.simulation import (
    MARGIN,
    METRICS,
    World,
    draw,
    ranking_rates,
    rates,
    refit_rates,
    swap_rates,
    worlds,
)
from reports.markdown import table

PAGE = Path(__file__).parents[2] / "docs" / "calibration.md"
CLUSTERS = (10, 15, 20, 30, 50, 100, 400)
CELLS = ((1, 0.0), *((rows, r) for rows in (5, 20, 0) for r in (0.0, 0.3, 0.9)))
PART = 500
"""Data sets made at once, which bounds memory; replications are a multiple of it."""
Rates = Mapping[World, Mapping[str, float]]


def main() -> None:
    """Simulate and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=PAGE)
    parser.add_argument("--replications", type=int, default=4000)
    parser.add_argument("--bootstrap", type=int, default=1000)
    options = parser.parse_args()
    n = options.replications
    found = study(worlds(CLUSTERS), n, options.bootstrap)
    rare = study(rare_worlds(), n, 0)
    options.out.write_text("\n\n".join(page(found, rare, n, options.bootstrap)) + "\n")


def study(cells: Iterable[World], replications: int, bootstrap: int) -> Rates:
    """The rates of each world; bootstrap intervals without a planted delta only."""
    found = {}
    for world in cells:
        parts = -(-replications // PART)
        few = 0 if world.planted else -(-bootstrap // parts)
        own = [
            rates(world, draw(world, PART, stream(0, f"calibration/{world}/{i}")), bootstrap=few)
            for i in range(parts)
        ]
        found[world] = {name: float(np.mean([one[name] for one in own])) for name in own[0]}
        print(world, found[world], file=sys.stderr, flush=True)
    return found


def rare_worlds() -> Iterable[World]:
    """Changes that are rare and all for the worse, at the margin: the hardest for equivalence."""
    for g in (30, 50, 100, 400):
        for rows, correlation in CELLS:
            yield World("accuracy", g, rows, correlation, -MARGIN, MARGIN / 100)


def page(found: Rates, rare: Rates, n: int, bootstrap: int) -> Iterable[str]:
    """The parts of the page."""
    yield INTRODUCTION.format(n=f"{n:,}", error=f"{_error(n):.1f}")
    yield summary(found)
    yield misses(found, n)
    for metric in METRICS:
        own = {world: each for world, each in found.items() if world.metric == metric}
        yield f"## {metric.capitalize() if metric != 'macro-F1' else metric}"
        for planted in (0.0, -MARGIN):
            yield f"Coverage of the 95 / 90 % interval of a true delta of {_signed(planted)}, in %:"
            yield grid(own, planted, lambda one: f"{one['delta 95']:.1f} / {one['delta 90']:.1f}")
        yield (
            "False positives, in %: declared degraded / improved at 5 % though the true delta is "
            f"0, and equivalent though it is {_signed(-MARGIN)}, at the margin:"
        )
        yield errors(own)
        yield "Coverage of the 95 % interval of the *score* before, in %:"
        yield grid(own, 0.0, lambda one: f"{one['score 95']:.1f}")
    yield BOOTSTRAP.format(count=f"{bootstrap:,}")
    for metric in METRICS:
        own = {world: each for world, each in found.items() if world.metric == metric}
        yield f"{metric.capitalize() if metric != 'macro-F1' else metric}:"
        yield grid(own, 0.0, lambda one: f"{one['percentile']:.1f} / {one['BCa']:.1f}")
    yield RANKING
    yield ranking_table(max(100, n // 4))
    yield SWAPS
    yield swap_table(max(100, n // 4))
    yield REFITS
    yield refit_table(max(100, n // 2))
    yield RARE
    yield grid(rare, -MARGIN, lambda one: f"{one['delta 95']:.1f} / {one['equivalent']:.1f}")


def grid(found: Rates, planted: float, cell: Callable[[Mapping[str, float]], str]) -> str:
    """A table of clusters against rows a cluster and correlation."""
    clusters = sorted({world.clusters for world in found})
    by_cell = {(w.clusters, w.rows, w.correlation): one for w, one in found.items()
               if w.planted == planted}  # fmt: skip
    rows = [
        (str(g), *(cell(by_cell[g, m, r]) for m, r in CELLS if (g, m, r) in by_cell))
        for g in clusters
    ]
    return table(("Clusters", *map(_cell_name, CELLS)), rows, right=range(len(CELLS) + 1))


def errors(found: Rates) -> str:
    """The table of false positives."""
    merged = {}
    for world, one in found.items():
        if world.planted == 0:
            other = found[
                World(world.metric, world.clusters, world.rows, world.correlation, -MARGIN)
            ]
            merged[world] = {**one, "equivalent": other["equivalent"]}
    return grid(
        merged,
        0.0,
        lambda one: f"{one['degraded']:.1f} / {one['improved']:.1f}, {one['equivalent']:.1f}",
    )


def summary(found: Rates) -> str:
    """The extremes over all cells, by number of clusters."""
    rows = []
    for g in CLUSTERS:
        own = [(world, one) for world, one in found.items() if world.clusters == g]
        nothing = [one for world, one in own if world.planted == 0]
        at_margin = [one for world, one in own if world.planted != 0]
        ends = [
            f"{min(values):.1f} – {max(values):.1f}"
            for name in ("delta 95", "delta 90", "score 95")
            for values in [[one[name] for _, one in own]]
        ]
        worst = [max(one[word] for one in nothing) for word in ("degraded", "improved")]
        worst.append(max(one["equivalent"] for one in at_margin))
        rows.append((str(g), *ends, *(f"{value:.1f}" for value in worst)))
    header = ("Clusters", "Delta, 95 %", "Delta, 90 %", "Score, 95 %", "Degraded", "Improved",
              "Equivalent")  # fmt: skip
    return (
        "Over all metrics, rows and correlations: lowest and highest coverage, and the most false "
        f"positives, in %.\n\n{table(header, rows, right=range(7))}"
    )


def misses(found: Rates, n: int) -> str:
    """What lies outside the goal from 30 clusters on, by more than simulation error."""
    error, lines = _error(n), []
    for world, one in found.items():
        if world.clusters < ENOUGH:
            continue
        wrong = ("equivalent",) if world.planted else ("degraded", "improved")
        checks = [(name, 93 - error, 97 + error) for name in ("delta 95", "score 95")]
        checks += [(name, 0, 5 + error) for name in wrong]
        lines += [
            f"- {world.metric}, {world.clusters} clusters, "
            f"{_cell_name((world.rows, world.correlation))}, true delta {_signed(world.planted)}: "
            f"{name} {one[name]:.1f}"
            for name, low, high in checks
            if not low <= one[name] <= high
        ]
    goal = (
        f"**The goal**: from {ENOUGH} clusters on, 95 % intervals cover in 93 to 97 %, and no "
        f"verdict is false in more than 5 %, give or take simulation error (±{error:.1f}). "
    )
    if not lines:
        return f"{goal}Every cell reaches it."
    return f"{goal}Every cell reaches it except:\n\n" + "\n".join(lines)


def ranking_table(n: int) -> str:
    """Coverage for mean average precision."""
    rows = []
    for g in (10, 20, 30, 100):
        for correlation in (0.0, 0.3, 0.9):
            one = ranking_rates(g, 5, correlation, n, stream(0, f"ranking/{g}/{correlation}"))
            print(g, correlation, one, file=sys.stderr, flush=True)
            rows.append((str(g), f"{correlation:g}", *(f"{value:.1f}" for value in one.values())))
    header = ("Clusters", "Correlation", "95 %", "90 %", "Degraded", "Improved")
    return f"{n:,} data sets a cell.\n\n{table(header, rows, right=range(6))}"


def swap_table(n: int) -> str:
    """False positives of three tests of accuracy."""
    rows = []
    for g, m, correlation in ((10, 5, 0.3), (30, 1, 0.0), (30, 5, 0.9), (100, 5, 0.3)):
        one = swap_rates(g, m, correlation, n, stream(0, f"swaps/{g}/{m}/{correlation}"))
        print(g, m, correlation, one, file=sys.stderr, flush=True)
        rows.append((str(g), str(m), f"{correlation:g}", *(f"{v:.1f}" for v in one.values())))
    header = ("Clusters", "Rows", "Correlation", "Jackknife t", "Permutation", "McNemar")
    return f"{n:,} data sets a cell.\n\n{table(header, rows, right=range(6))}"


def refit_table(n: int) -> str:
    """Coverage of the interval of the mean of refits."""
    rows = []
    for g in (30, 100):
        for refits in (3, 5, 10):
            cells = []
            for training in (0.0, 0.5, 1.0, 2.0):
                for interaction in (0.0, 0.7):
                    rng = stream(0, f"refits/{g}/{refits}/{training}/{interaction}")
                    cells.append(refit_rates(g, refits, training, interaction, n, rng))
            print(g, refits, cells, file=sys.stderr, flush=True)
            rows.append((str(g), str(refits), *(f"{value:.1f}" for value in cells)))
    names = [f"{t:g}, {i:g}" for t in (0, 0.5, 1, 2) for i in (0, 0.7)]
    return (
        f"{n:,} data sets a cell; columns are deviation of training, deviation of its interaction "
        "with test rows, each over that of test sampling.\n\n"
        + table(("Clusters", "Refits", *names), rows, right=range(10))
    )


def _cell_name(cell: tuple[int, float]) -> str:
    rows, correlation = cell
    size = "unequal" if not rows else f"{rows} row{'s' if rows > 1 else ''}"
    return size if rows == 1 else f"{size}, r = {correlation:g}"


def _signed(points: float) -> str:
    return f"{points:g}".replace("-", "−")


def _error(n: int) -> float:
    """Two standard errors of a coverage of 95 %, in points."""
    return 200 * float(np.sqrt(0.95 * 0.05 / n))


INTRODUCTION = """# Do the intervals cover?

Measured by `python tests/benchmarks/calibration.py`, which wrote this page. In each cell {n} data
sets are made whose true delta is known; shown is how often the interval of a record covers it. At
95 %, simulation itself is off by up to ±{error} points (two standard errors).

**Worlds.** Clusters are 10 to 400, of 1, 5 or 20 rows or *unequal* (geometric with mean 5, at
most 40), with rows of a cluster correlated by r on a normal scale. *Accuracy*: 75 % before, and a
quarter of the rows change sides. *Macro-F1*: four classes of 40, 30, 20 and 10 %, the same
changes. *Gaze error*: lognormal, cut at the diagonal of the picture, half of its log variance
shared by the sides.

**Method.** The interval is Student's t on the cluster jackknife, with degrees of freedom from the
kurtosis of the clusters' influences; where few clusters changed, pseudo-clusters widen it
(`probes/statistics/student.py`). p and both intervals come from the same t. False positives are
counted before any correction for several comparisons."""

BOOTSTRAP = """## Beside it: the bootstrap

Coverage of the 95 % percentile / BCa interval of the paired cluster bootstrap, in %, true delta
0, {count} data sets a cell and 1,000 draws each. Records carry both; neither decides a verdict,
since both are too narrow with few clusters, BCa the more so with strong clustering."""

RANKING = """## Rankings

Mean average precision of three classes, 5 rows a cluster, true delta 0: coverage, and false
positives, in %."""

SWAPS = """## Tests of no difference

False positives at 5 %, in %, of three tests of accuracy under a true delta of 0. McNemar's takes
rows as independent."""

REFITS = """## Test sampling and training together

Coverage of the 95 % interval of the mean delta of several refits on the same test rows
(`probes/statistics/variance.py`), in %."""

RARE = """## Where an interval can fail

Changes that are rare and all for the worse: 2 % of the rows break, none is fixed, so the true
delta of accuracy is −2, at the margin. Shown are coverage of the 95 % interval / the share
declared equivalent, in %. With one row a cluster, pseudo-clusters help. But where a rare change
hits whole large clusters together, most samples of 30 to 100 clusters hold none of those that
matter, and nothing in the sample can tell. Read *equivalent* on few clusters together with the
numbers broken and fixed."""


if __name__ == "__main__":
    main()
