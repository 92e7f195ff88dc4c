"""1,000 simulations a cell: the corrected interval covers the truth, and the raw one does not."""

import numpy as np
import pytest
from scipy.stats import t as student

from probes.conflict.estimates import estimate
from probes.conflict.simulation import noisy_gradients, products_of
from probes.statistics.bootstrap import stream

SIMULATIONS = 1000
# Signal over noise, batches, and how the noise is; docs/gradient-conflict.md has all cells.
WORLDS = {
    "heavy noise": ((0.1, 0.1), 16, {}),
    "shared pictures": ((0.1, 0.1), 32, {"shared": 0.8}),
    "long tails": ((0.3, 0.3), 16, {"heavy": True}),
    "one faint task": ((0.3, 0.05), 32, {}),
}


@pytest.mark.slow
@pytest.mark.parametrize("cosine", [-0.5, 0.0, 0.9])
@pytest.mark.parametrize("world", WORLDS)
def test_intervals_cover(world, cosine):
    signal, batches, noise = WORLDS[world]
    rng = stream(1, f"{world} {cosine}")
    covered, raw_covered, below, wrong = 0, 0, 0, 0
    for _ in range(SIMULATIONS):
        gradients = noisy_gradients(cosine, signal, batches, rng=rng, **noise)
        pair = estimate(products_of(gradients), seed=0, draws=0).pairs[0]
        below += pair.cosine is None
        if pair.cosine is not None:
            low = -np.inf if pair.cosine.low is None else pair.cosine.low
            high = np.inf if pair.cosine.high is None else pair.cosine.high
            covered += low <= cosine <= high
        wrong += pair.word in ("conflict", "aligned") and pair.word != {
            -0.5: "conflict", 0.0: "neither", 0.9: "aligned"
        }[cosine]  # fmt: skip
        each = (gradients[0] * gradients[1]).sum(axis=1)
        each = each / np.linalg.norm(gradients, axis=2).prod(axis=0)
        half = student.ppf(0.975, batches - 1) * each.std(ddof=1) / np.sqrt(batches)
        raw_covered += abs(each.mean() - cosine) <= half
    assert below < 0.02 * SIMULATIONS
    # 93 to 97 %, give or take two standard errors; long tails are covered more often.
    most = 0.984 if world != "long tails" else 0.995
    assert 0.916 <= covered / (SIMULATIONS - below) <= most
    assert wrong <= 0.084 * SIMULATIONS
    if cosine:
        assert raw_covered < 0.01 * SIMULATIONS
