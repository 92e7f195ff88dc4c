"""How long a paired bootstrap of accuracy takes: a loop over draws, a matrix, and the shortcut.

    OMP_NUM_THREADS=1 python tests/benchmarks/bootstrap.py

The loop picks rows and takes two means, draw by draw; the matrix multiplies counts of clusters with
their sums; the shortcut draws how often each kind of cluster is taken. All three give the same
distribution, as the printed intervals show.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from probes.metrics import ClassOutcome, delta, resolve
from probes.statistics.bootstrap import interval, resample

CLASSES = ("a", "b")


def sides(n: int, rng: np.random.Generator) -> tuple[ClassOutcome, ClassOutcome]:
    """60 % right before and 56 % after, where 10 % of the rows change sides."""
    kind = rng.choice(4, n, p=[0.07, 0.03, 0.53, 0.37])
    labels = np.zeros(n, dtype=np.int64)
    right = ((kind == 0) | (kind == 2), (kind == 1) | (kind == 2))
    one, two = (ClassOutcome(labels, np.eye(2, dtype=np.float32)[1 - r]) for r in right)
    return one, two


def loop(one: ClassOutcome, two: ClassOutcome, draws: int) -> np.ndarray:
    """Deltas, one draw after another."""
    rng = np.random.default_rng(0)
    before, after = (side.predicted == side.labels for side in (one, two))
    n, found = len(before), np.empty(draws)
    for i in range(draws):
        rows = rng.integers(0, n, n)
        found[i] = 100 * (after[rows].mean() - before[rows].mean())
    return found


def drawn(one: ClassOutcome, two: ClassOutcome, draws: int, *, shortcut: bool) -> np.ndarray:
    """Deltas by `probes.statistics.bootstrap`."""
    metric = resolve("accuracy", CLASSES)
    values = resample(
        np.arange(len(one.labels)), {0: (metric, one), 1: (metric, two)}, draws=draws,
        rng=np.random.default_rng(0), shortcut=shortcut,
    )  # fmt: skip
    return delta(values[0], values[1], metric)


def timed(work: Callable[[], np.ndarray], repeats: int) -> tuple[float, np.ndarray]:
    """Least processor seconds of a call, and what it gives."""
    took = []
    for _ in range(repeats):
        start = time.process_time()
        found = work()
        took.append(time.process_time() - start)
    return min(took), found


def main() -> None:
    """Print seconds, ratios and intervals."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    one, two = sides(options.rows, np.random.default_rng(1))
    ways = {
        "loop": partial(loop, one, two, options.draws),
        "matrix": partial(drawn, one, two, options.draws, shortcut=False),
        "shortcut": partial(drawn, one, two, options.draws, shortcut=True),
    }
    found = {name: timed(work, options.repeats) for name, work in ways.items()}
    print(f"{options.draws:,} draws of {options.rows:,} rows, one a cluster")
    for name, (seconds, deltas) in found.items():
        low, high = interval(deltas, 0.95)
        print(
            f"{name:9} {seconds:8.4f} s, {found['loop'][0] / seconds:8.1f} x the loop, "
            f"delta in [{low:.2f}, {high:.2f}]"
        )


if __name__ == "__main__":
    main()
