"""Why trainings stopped, and the answers that models wrote."""

from collections.abc import Callable

from reports.fusion.stops import stops_words
from reports.fusion.written import written_section
from socialfusion.records import FusionRecord, Generated, Stop, Trained, WrittenAnswer

Fusions = Callable[..., FusionRecord]
TASKS = ("scenes-gesture", "scenes-gaze")
GESTURE, GAZE = "scenes-gesture/gesture", "scenes-gaze/gaze"


def test_a_budget_that_was_used_up_takes_one_sentence(make_fusion: Fusions) -> None:
    runs = [make_fusion("a", TASKS), make_fusion("b", TASKS)]
    assert stops_words(runs) == (
        "Every question used up its budget (40 steps). Weights tested: last step, step 40."
    )


def test_early_stops_are_named_with_their_reason(make_fusion: Fusions) -> None:
    waited, spent = "no better validation loss in 3 looks", "budget used up"
    stops = {GESTURE: Stop(step=15, reason=waited), GAZE: Stop(step=40, reason=spent)}
    trained = Trained(
        parameters={"lora": 1}, digest="b7" * 32, step=12, rule="best mean validation loss"
    )
    early = make_fusion("a", TASKS, stops=stops, trained=trained)
    late = {GESTURE: Stop(step=7, reason="<i>"), GAZE: Stop(step=40, reason=spent)}
    other = make_fusion("b", TASKS, stops=late, steps_run=60)
    assert stops_words([early]) == (
        f"1 of 2 questions used up their budget (40 steps). Stopped early, {waited}: gesture at "
        "step 15. Weights tested: best mean validation loss, step 12."
    )
    said = stops_words([early, other])
    assert said.startswith("2 of 4 questions used up their budget (40 to 60 steps).")
    assert f"{waited}: gesture of `a` at step 15." in said
    assert "&lt;i&gt;: gesture of `b` at step 7." in said
    assert said.endswith("best mean validation loss, step 12; last step, step 40.")


def test_written_answers_stand_beside_the_scores(make_fusion: Fusions) -> None:
    examples = (
        WrittenAnswer(row="row|1", right="thumb up", text="<script>`|\nthumb"),
        WrittenAnswer(row="row-2", right="fist", text=""),
    )
    one = Generated(
        question=GESTURE, accuracy=61.25, scored=64.0, other=3.5, n=1200, examples=examples
    )
    text = written_section([make_fusion("a", TASKS, generated=(one,)), make_fusion("b", TASKS)])
    assert "| `a` | gesture | 1,200 | 61.2 | 64.0 | 3.5 |" in text
    assert "| `a` | gesture | `row\\|1` | thumb up | `` <script>`\\| thumb `` |" in text
    assert "<summary>Some answers, those that are none first</summary>" in text
    plain = one.model_copy(update={"examples": ()})
    assert "<details>" not in written_section([make_fusion("a", TASKS, generated=(plain,))])


def test_without_written_answers_there_is_no_section(make_fusion: Fusions) -> None:
    assert written_section([make_fusion("a", TASKS)]) == ""
