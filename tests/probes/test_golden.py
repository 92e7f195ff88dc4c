"""The golden table: numbers of two made-up worlds, by method, so that a change names itself.

    SDIAG_WRITE_GOLDEN=1 python -m pytest tests/probes/test_golden.py

writes the table anew, with the versions that made it. Say in the commit why numbers moved.
"""

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from run_worlds import class_world, gaze_world

from probes.drift.run import drift_pair
from probes.statistics.bootstrap import bca, interval, stream
from probes.statistics.differences import benjamini_hochberg, holm, mcnemar_exact

GOLDEN = Path(__file__).parents[1] / "golden" / "measurement.json"
WRITE = bool(os.environ.get("SDIAG_WRITE_GOLDEN"))


def numbers_of_run(record):
    """Every number of a run, by question, block, probe and metric."""
    found = {}
    for one in record.comparisons:
        name = f"{one.question}/{one.block}/{one.probe}/{one.metric}"
        found[name] = {
            "pre": one.pre.value, "post": one.post.value, "delta": one.delta.value,
            "low": one.delta.low, "high": one.delta.high, "low 90": one.delta_low_90,
            "p": one.p, "mcnemar": one.p_mcnemar, "permutation": one.p_permutation,
            "bca low": one.bca_low, "percentile high": one.percentile_high,
            "log10 strength": np.log10([one.strength_pre, one.strength_post]).tolist(),
        }  # fmt: skip
    for one in record.baselines:
        found[f"{one.question}/{one.name}/{one.metric}"] = {"value": one.estimate.value}
    for one in record.robustness:
        found[f"{one.question}/tuning"] = {f"{p.strength:.0e}": p.delta.value for p in one.tuning}
        found[f"{one.question}/training"] = {
            "sd": one.training.training_sd, "low": one.training.low,
        }  # fmt: skip
    return found


def statistics():
    """Tests and intervals of fixed inputs."""
    values = np.random.default_rng(0).gamma(2, size=500)
    without = np.random.default_rng(1).normal(2, 0.01, size=40)
    return {
        "holm": {"p": holm([0.01, 0.04, 0.03, 0.2]).tolist()},
        "benjamini-hochberg": {"p": benjamini_hochberg([0.01, 0.04, 0.03, 0.2]).tolist()},
        "mcnemar": {"5 and 1": mcnemar_exact(5, 1), "30 and 12": mcnemar_exact(30, 12)},
        "percentile": {"95": list(interval(values, 0.95))},
        "bca": {"95": list(bca(1.8, values, without - without.mean(), 0.95))},
        "stream": {"first": float(stream(0, "folds").random())},
    }


@pytest.fixture
def table(spec, rows, probe, tmp_path):
    task, splits = class_world(spec, rows, erased=0.6)
    found = {"classes": numbers_of_run(probe(task, splits, beside=True, refits=3))}
    drift = drift_pair(tmp_path / "cache", task.name, "planted", results=tmp_path / "results")
    found["drift"] = {
        f"{one.measure}/{one.question}/{one.block}": {
            "value": one.number.value,
            "low": one.number.low,
        }
        for one in drift.similarities
    } | {
        f"{one.measure}/{one.question}/{one.block}": {"pre": one.pre.value, "post": one.post.value}
        for one in drift.shapes
    }
    found["gaze"] = numbers_of_run(probe(*gaze_world(spec, rows)))
    return found | {"statistics": statistics()}


def tolerance(method, what):
    """How far a number may move on another processor or with another release of a library.

    Fits stop within 3e-7 nats, so a prediction or two of 140 may tip.
    """
    if method == "statistics":
        return 1e-9
    if method == "drift":
        return 2e-3
    return {"p": 0.05, "mcnemar": 0.1, "permutation": 0.1, "log10 strength": 1e-3}.get(what, 0.8)


def test_the_numbers_are_those_of_the_golden_table(table):
    if WRITE:
        made_by = {name: version(name) for name in ("numpy", "scipy", "torch", "scikit-learn")}
        made_by |= {"python": platform.python_version(), "command": __doc__.split("\n")[2].strip()}
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(json.dumps({"made by": made_by, **table}, indent=1) + "\n")
    golden = json.loads(GOLDEN.read_text())
    del golden["made by"]
    assert table.keys() == golden.keys()
    different = []
    for method, parts in golden.items():
        assert table[method].keys() == parts.keys()
        for name, numbers in parts.items():
            for what, expected in numbers.items():
                close = np.allclose(
                    np.array(table[method][name][what], dtype=float),
                    np.array(expected, dtype=float),
                    atol=tolerance(method, what), rtol=1e-3 * (method == "drift"), equal_nan=True,
                )  # fmt: skip
                if not close:
                    different.append((method, name, what, expected, table[method][name][what]))
    assert different == []
