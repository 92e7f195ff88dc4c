"""Which rows every step takes, and at which rate it learns from them."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from degradation.errors import ConfigError
from socialfusion.mixing import Mixer, shares
from socialfusion.records import FusionSettings
from socialfusion.schedule import learning_rate
from socialfusion.stopping import Progress

ROWS = {"a": np.arange(100, 107), "b": np.arange(30), "c": np.arange(5)}


def mixer(**changes: object) -> Mixer:
    base = {
        "encoder": "x", "tasks": ("t",), "language_model": "y", "steps": 10, "batch_size": 4
    }  # fmt: skip
    return Mixer(ROWS, FusionSettings(**{**base, **changes}))


def walk(one: Mixer, steps: int, active=tuple(ROWS)):
    seen, draws = dict.fromkeys(ROWS, 0), []
    for number in range(steps):
        taken = one.step(number, active, seen)
        for draw in taken:
            seen[draw.label] += len(draw.rows)
        draws.append(taken)
    return seen, draws


def test_equal_mixing_gives_each_question_what_a_run_of_its_own_has() -> None:
    joint = mixer()
    seen, draws = walk(joint, 6)
    assert seen == {"a": 24, "b": 24, "c": 24}
    _, alone = walk(joint, 6, active=("b",))
    for several, (single,) in zip(draws, alone, strict=True):
        assert [draw.label for draw in several] == ["a", "b", "c"]
        assert several[1].rows.tolist() == single.rows.tolist()
        assert [draw.weight for draw in several] == [1 / 3] * 3


def test_a_total_budget_is_shared_evenly_in_the_long_run() -> None:
    seen, draws = walk(mixer(budget="total", batch_size=7), 9)
    assert all(sum(len(draw.rows) for draw in step) == 7 for step in draws)
    assert set(seen.values()) == {21}
    few, _ = walk(mixer(budget="total", batch_size=2), 3)
    assert set(few.values()) == {2}


def test_an_epoch_holds_every_row_once_and_the_next_another_order() -> None:
    _, draws = walk(mixer(batch_size=3), 14)
    a = np.concatenate([step[0].rows for step in draws])
    epochs = a.reshape(-1, 7)
    assert all(sorted(epoch) == ROWS["a"].tolist() for epoch in epochs.tolist())
    assert len({tuple(epoch) for epoch in epochs.tolist()}) > 1


def test_the_draws_of_a_step_follow_from_what_was_seen() -> None:
    one = mixer(mixing="temperature", temperature=2.0)
    _, draws = walk(one, 8)
    before = {label: sum(len(d.rows) for s in draws[:5] for d in s if d.label == label)
              for label in ROWS}  # fmt: skip
    again = one.step(5, tuple(ROWS), before)
    assert [(d.label, d.rows.tolist()) for d in again] == [
        (d.label, d.rows.tolist()) for d in draws[5]
    ]
    other = mixer(mixing="temperature", temperature=2.0, seed=1)
    assert any(
        [d.rows.tolist() for d in x] != [d.rows.tolist() for d in y]
        for x, y in zip(draws, walk(other, 8)[1], strict=True)
    )


def test_temperature_draws_in_proportion() -> None:
    one = mixer(mixing="temperature", temperature=1.0, budget="total")
    counts = Counter(draw.label for step in walk(one, 800)[1] for draw in step)
    for label, share in zip(ROWS, shares([7, 30, 5], 1.0), strict=True):
        assert abs(counts[label] / 800 - share) < 4 * math.sqrt(share * (1 - share) / 800)
    per_task = mixer(mixing="temperature", accumulation=2)
    assert all(len(step) == 6 for step in walk(per_task, 3)[1])


def test_shares() -> None:
    assert shares([100, 400], 1.0).tolist() == pytest.approx([0.2, 0.8])
    assert shares([3, 500], 1e6).tolist() == pytest.approx([0.5, 0.5], abs=1e-5)
    with pytest.raises(ConfigError, match="above 0"):
        shares([1, 2], 0.0)


@given(st.integers(1, 60), st.floats(0, 0.9))
@settings(deadline=None, max_examples=40)
def test_the_rate_rises_to_its_peak_and_falls(steps: int, warmup: float) -> None:
    rates = [learning_rate(i, steps, peak=3.0, warmup=warmup) for i in range(steps)]
    rise = round(warmup * steps)
    assert max(rates) == pytest.approx(3.0)
    assert rates[:rise] == pytest.approx([3.0 * (i + 1) / rise for i in range(rise)])
    assert all(x >= y for x, y in zip(rates[rise:], rates[rise + 1 :], strict=False))
    assert min(rates) > 0


def test_a_question_stops_when_its_loss_does_not_get_better() -> None:
    progress = Progress({}, {}, {})
    for step, a, b in ((1, 3.0, 1.0), (2, 2.0, 1.5), (3, 1.0, 1.5), (4, 1.5, 0.9)):
        progress = progress.looked(step, {"a": a, "b": b}, patience=2)
    assert {label: one.step for label, one in progress.stops.items()} == {"b": 3}
    assert "2 looks" in progress.stops["b"].reason
    assert (progress.step, progress.mean) == (4, pytest.approx(1.2))
    assert progress.best == {"a": 1.0, "b": 0.9}
    assert not Progress({}, {}, {}).looked(1, {"a": 1.0}, patience=0).stops
