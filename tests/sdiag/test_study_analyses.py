"""What stages are said to cost: fits counted against those that are made, and how costs grow."""

import math
from dataclasses import replace

import numpy as np
import pytest
from slice_worlds import GRID, D, mood_task, token_world, write_tokens

from degradation.encoders.pair import Pair
from degradation.protocol import Protocol
from probes import problems
from probes.diagnosis.run import diagnose_pair
from probes.diagnosis.settings import QUICK
from probes.run import probe_pair
from probes.selection import make_plan
from probes.slices.where import where_pair
from sdiag.commands.study import _plan_text
from sdiag.study import analyses, clocks
from sdiag.study.analyses import class_units
from sdiag.study.costs import Clock, Cost, Rate
from sdiag.study.encoders import EncoderFacts, StudyPair
from sdiag.study.run import Outlook
from sdiag.study.schema import Diagnose, Drift, PairChoice, Probe, Where
from sdiag.study.steps import Step
from sdiag.study.world import TaskRows

SIZES = {"train": 40, "val": 20, "test": 40}
FOLDED = {"train": 40, "test": 40}
FACTS = EncoderFacts("a", blocks=1, width=D, patch=8, size=8 * GRID[0], parameters=1000)
PROBES = Clock("class probe")


def pair_of(facts=FACTS, blocks=(0,)):
    choice = PairChoice(pre="a", post="b", name="planted", size=facts.size, blocks=blocks)
    pair = Pair("planted", "a", "b", "made up", "a test")
    return StudyPair(pair, Protocol(), facts, facts, choice)


def rows_of(counts):
    return TaskRows({}, counts, frames=1, regions=2, questions=1)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(SIZES, id="val"),
        pytest.param(FOLDED, id="folds", marks=pytest.mark.slow),
    ],
)
def cached(request, tmp_path_factory):
    """A cached pair, its task, and the rows of its splits."""
    root = tmp_path_factory.mktemp("cached")
    task, splits = token_world(sizes=request.param)
    write_tokens(root / "cache", task, splits)
    return root, task, rows_of(request.param)


@pytest.fixture
def fitted(monkeypatch):
    """All fits that are made from now on: rows, width, classes, how many at once, how exact."""
    real, found = problems.fit_logistic, []

    def counted(prepared, labels, strengths, *, counts=None, gap, **options):
        groups = 1 if counts is None else len(counts)
        shape = (len(prepared), len(prepared.mean), options["n_classes"], groups * len(strengths))
        found.append((shape, analyses.FINAL if gap == problems.FINAL else 1))
        return real(prepared, labels, strengths, counts=counts, gap=gap, **options)

    monkeypatch.setattr(problems, "fit_logistic", counted)
    monkeypatch.setattr(analyses, "PICTURES", 17)  # no pictures but boxes, of which 17 are read
    return found


def units(fitted):
    return sum(exactness * class_units(*shape) for shape, exactness in fitted)


def test_fits_of_a_run_are_those_that_are_counted(cached, fitted, monkeypatch):
    root, task, rows = cached
    asked = Probe(draws=100, curve=True, refits=3)
    probe_pair(
        root / "cache", task.name, "planted", results=root, draws=100, curve=True, refits=3
    )  # fmt: skip
    for step in (0, 1e7):  # what they take by their rows alone, and by their number
        monkeypatch.setattr(analyses, "STEP", step)
        planned = analyses.probe_cost(pair_of(), task, rows, asked).work[PROBES]
        assert planned == pytest.approx(units(fitted), rel=0.1)


@pytest.mark.slow
def test_fits_of_a_diagnosis_are_those_that_are_counted(cached, fitted):
    root, task, rows = cached
    diagnose_pair(root / "cache", task.name, "planted", results=root, draws=100, settings=QUICK)
    asked = Diagnose(quick=True, draws=100)
    planned = analyses.diagnosis_cost(pair_of(), task, rows, asked).work[PROBES]
    assert planned == pytest.approx(units(fitted), rel=0.2)


def test_fits_of_single_tokens_are_those_that_are_counted(cached, fitted):
    root, task, rows = cached
    where_pair(root / "cache", task.name, "planted", results=root, each=8)
    planned = analyses.where_cost(pair_of(), task, rows, Where(tokens=8)).work[PROBES]
    assert planned == pytest.approx(units(fitted), rel=0.25)


@pytest.mark.parametrize("splits", [("train", "val", "test"), ("train", "test"), ("all",)])
def test_questions_have_the_plan_of_their_fits(splits):
    counts = dict.fromkeys(splits, 50)
    where = np.repeat(splits, 50)
    n = len(where)
    plan = make_plan(
        where, np.ones(n, bool), np.arange(n), np.arange(n) % 3, seed=0, name="mood"
    )  # fmt: skip
    (one,) = analyses._asked(pair_of(), mood_task(), rows_of(counts))
    assert one.stages == len(plan.stages)
    assert one.trials == len(plan.stages[0].trials)
    assert one.fitted == len(plan.stages[0].train)
    assert one.predicted == len(plan.predicted)


def test_costs_grow_with_what_they_are_made_of(monkeypatch):
    monkeypatch.setattr(analyses, "PICTURES", 1)
    monkeypatch.setattr(analyses, "STEP", 0)
    task, rows = mood_task(), rows_of({"train": 10_000, "test": 5000})
    wide = replace(FACTS, width=400)

    def probes(facts=FACTS, blocks=(0,), task=task, rows=rows):
        return analyses.probe_cost(pair_of(facts, blocks), task, rows, Probe(curve=False)).work[
            PROBES
        ]  # fmt: skip

    more = rows_of({"train": 100_000, "test": 50_000})
    assert probes(wide, rows=more) == pytest.approx(10 * probes(wide), rel=0.3)
    assert 40 < probes(wide) / probes() < 70
    assert probes(blocks=(0, 1, 2)) > 1.5 * probes()
    ranked = replace(task, metrics={"mood": ("mean_average_precision",)})
    work = analyses.probe_cost(pair_of(), ranked, rows, Probe()).work
    assert work[Clock("ranking")] > 5000 * 3 * 2000
    assert Clock("ranking") not in analyses.probe_cost(pair_of(), task, rows, Probe()).work
    capped, whole = (
        analyses.drift_cost(pair_of(), task, rows, Drift(row_cap=cap)).work[Clock("matrices")]
        for cap in (100, 5000)
    )
    assert whole > 50 * capped


def test_gaze_is_timed_by_itself():
    gaze = replace(mood_task(), kind="gaze", label_sets={}, metrics={"gaze": ("average_l2_error",)})
    work = analyses.diagnosis_cost(pair_of(), gaze, rows_of(SIZES), Diagnose()).work
    assert {Clock("gaze probe"), Clock("gaze heat", gaze.name)} <= set(work)
    assert PROBES not in work


def test_attentive_networks_count_only_where_token_maps_are_stored():
    pair = pair_of()
    work = analyses.diagnosis_cost(pair, mood_task(), rows_of(SIZES), Diagnose()).work
    assert Clock("attention") not in work
    stored = replace(pair, choice=pair.choice.model_copy(update={"token_blocks": (0,)}))
    work = analyses.diagnosis_cost(stored, mood_task(), rows_of(SIZES), Diagnose()).work
    assert work[Clock("attention")] > 0
    work = analyses.diagnosis_cost(stored, mood_task(), rows_of(SIZES), Diagnose(quick=True)).work
    assert Clock("attention") not in work


def test_seconds_are_work_by_speed_and_bounds_are_told():
    one, two = Clock("encoder", "a"), Clock("opening", "b")
    cost = Cost(work={one: 6.0, two: 10.0})
    rates = {one: Rate(2.0, ""), two: Rate(5.0, "")}
    assert cost.seconds(rates) == 5.0
    assert not cost.bounded(rates)
    assert cost.bounded({**rates, one: Rate(2.0, "", bound=True)})
    assert Cost().seconds({}) is None


@pytest.mark.parametrize("what", ["tally", "ranking", "network", "attention", "drawing"])
def test_speeds_are_found_quickly(monkeypatch, what):
    monkeypatch.setattr(clocks, "TIMED", 0.0)
    rate = clocks.measured_rate(Clock(what), None)
    assert math.isfinite(rate.per_second)
    assert rate.per_second > 0


def test_a_speed_is_the_median_of_its_turns(monkeypatch):
    marks = iter([0.0, 1.0, 3.0, 13.0])  # turns of 1, 2 and 10 s
    monkeypatch.setattr(clocks, "now", lambda: next(marks))
    monkeypatch.setattr(clocks, "TIMED", 12.0)
    assert clocks.per_second(lambda: None) == 0.5


def test_every_clock_of_a_cost_can_be_timed():
    for spec in (mood_task(), replace(mood_task(), label_sets={}, metrics={"gaze": ("x",)})):
        pair, rows = pair_of(), rows_of(SIZES)
        for cost in (
            analyses.probe_cost(pair, spec, rows, Probe()),
            analyses.diagnosis_cost(pair, spec, rows, Diagnose()),
            analyses.drift_cost(pair, spec, rows, Drift()),
            analyses.slices_cost(pair, spec, rows, Probe()),
            analyses.report_cost({"probe": 1, "gcd": 1}),
        ):
            assert cost.work
            assert {clock.what for clock in cost.work} <= set(clocks.CLOCKS)


def outlook(stage, seconds, *, state="to do", least=False, pictures=0):
    step = Step(stage, "it", lambda: "", lambda: None)
    return Outlook(step, state, "", Cost(pictures), seconds, least)


def test_a_plan_is_summed_by_stage_before_its_steps():
    plan = [
        outlook("extract", 30.0, pictures=2000),
        outlook("extract", 40.0, least=True, pictures=1000),
        outlook("extract", None, state="there"),
        outlook("probe", None),
        outlook("drift", 7200.0),
        outlook("drift", None),
    ]
    summed, steps, *_ = (part.splitlines() for part in _plan_text(plan, {}).split("\n\n"))
    assert [line.split() for line in summed[1:]] == [
        ["extract", "3", "1", "2", "3,000", ">", "70", "s"],
        ["probe", "1", "1", "?"],
        ["drift", "2", "2", "2.0", "h", "+", "?"],
        ["all", "6", "1", "5", "3,000", ">", "2.0", "h", "+", "?"],
    ]
    assert len(steps) == 1 + len(plan)
