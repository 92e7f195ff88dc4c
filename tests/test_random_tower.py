"""The embedded pair beside an untrained tower of its architecture, from pictures to baselines."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from degradation.cache import verify
from degradation.encoders.registry import get_pair, load_encoder
from degradation.extract import extract
from degradation.tasks import get_task
from probes.predictions import read_predictions, recompute
from probes.run import probe_pair
from probes.runs import PREDICTIONS


def thinned(read, split):
    """Every fourth row of a split."""
    rows = read(split)
    return rows.take(np.arange(0, len(rows), 4))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["scenes-expression", "scenes-objects"])
def test_training_taught_what_the_tower_reads(name: str, tmp_path: Path) -> None:
    task, pair = get_task(name), get_pair("tiny")
    task = replace(task, read=partial(thinned, task.read))
    pre, post, random = map(load_encoder, (pair.pre, pair.post, "random:tiny:pre"))
    for split in task.splits:
        extract(task, split, pair, pre, post, random=random, root=tmp_path, progress=False)
    assert verify(tmp_path) == []
    results = tmp_path / "results"
    record = probe_pair(tmp_path, name, "tiny", results=results, blocks=(2,), draws=200, refits=0)
    for one in record.comparisons:
        if not one.confirmatory:
            continue
        found = {
            b.name: b.estimate
            for b in record.baselines
            if (b.question, b.metric) == (one.question, one.metric)
        }
        chance = found["prior"]
        # Every question is one that training taught, at this architecture.
        assert one.pre.value > found["random-tower"].value + 10
        for side in ("pre", "post"):
            shuffled = found[f"shuffled-{side}"]
            assert shuffled.low < chance.high
            assert chance.low < shuffled.high
            assert getattr(one, side).value > shuffled.value + 10
    if name == "scenes-objects":  # a backdrop is read even without training
        (backdrop,) = (
            b.estimate
            for b in record.baselines
            if (b.question, b.name, b.metric) == ("backdrop", "random-tower", "accuracy")
        )
        assert backdrop.low > 40
    predictions = read_predictions(results / "tiny" / name / PREDICTIONS)
    assert recompute(record, predictions)[0] == record.baselines
