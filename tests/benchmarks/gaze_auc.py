"""AUC of gaze maps at original size: by ranks against scikit-learn's sort, on the same maps.

    python tests/benchmarks/gaze_auc.py

A rough map has something in every cell, the worst case; a smooth one has a peak on a floor, as
predictions have. Ours includes the resize; scikit-learn gets the map already resized. The goal is
a ratio of at least 50 at 640 x 480 and above. Both must agree to 1e-12.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np
from sklearn.metrics import roc_auc_score

from probes.gaze_metrics import gaussian_maps, human_outcome, resize, roc_auc

ANNOTATORS = 10


def per_call(work: Callable[[], object], seconds: float) -> float:
    """Mean processor seconds of a call, which other processes of the machine do not lengthen."""
    work()
    start, count = time.process_time(), 0
    while time.process_time() - start < seconds:
        work()
        count += 1
    return (time.process_time() - start) / count


def main() -> None:
    """Print times and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="per measurement")
    seconds = parser.parse_args().seconds
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:24, :24] / 24
    bump = np.exp(-((x - 0.4) ** 2 + (y - 0.6) ** 2) / 0.03) + 1e-3 * rng.random((24, 24))
    heats = {
        "rough map": rng.dirichlet(np.full(576, 0.5)).reshape(24, 24).astype(np.float32),
        "smooth map": (bump / bump.sum()).astype(np.float32),
        "one human": gaussian_maps(np.float32([[0.4, 0.6]])).reshape(64, 64),
    }
    points = np.clip(rng.normal((0.4, 0.6), 0.1, (ANNOTATORS, 2)), 0, 0.999)
    for width, height in ((640, 480), (1024, 768), (1920, 1080)):
        positive = np.unique((points * (width, height)).astype(int) @ (1, width))
        truth = np.zeros(width * height, dtype=int)
        truth[positive] = 1
        for name, heat in heats.items():
            big = resize(heat, (height, width)).ravel()
            ours = per_call(partial(roc_auc, heat, positive, (height, width)), seconds)
            theirs = per_call(partial(roc_auc_score, truth, big), seconds)
            gap = abs(roc_auc(heat, positive, (height, width)) - roc_auc_score(truth, big))
            print(
                f"{width:5d} x {height:<5d} {name:11s} ours {1e3 * ours:7.3f} ms, scikit-learn "
                f"{1e3 * theirs:8.2f} ms, ratio {theirs / ours:6.0f}, difference {gap:.0e}",
                flush=True,
            )
    points = rng.uniform(0, 1, (100, ANNOTATORS, 2)).astype(np.float32)
    sizes = np.full((100, 2), (640, 480))
    took = per_call(partial(human_outcome, points, sizes), seconds)
    print(f"human ceiling: {10 * took:.1f} ms a row of {ANNOTATORS} annotators")


if __name__ == "__main__":
    main()
