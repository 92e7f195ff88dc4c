"""The difference of differences in words and in a table."""

import pandas as pd
import pytest

from probes.records import Estimate
from probes.statistics.contrast import Contrast, ContrastPart
from reports.verdicts.contrast import contrast_section, contrast_sentence, contrast_table


def part(question, social, delta, relative):
    return ContrastPart(
        task=f"task-{question}", question=question, social=social, metric="accuracy",
        label="accuracy", delta=delta, relative=relative,
    )  # fmt: skip


def made(low, high, *, relative=True, **more):
    value = (low + high) / 2
    parts = (part("expression", True, -24.0, -30.0), part("gaze", True, -4.0, -20.0),
             part("colour_1", False, -2.0, -2.5 if relative else None))  # fmt: skip
    fields = {
        "pair": "tiny", "parts": parts, "social": -14.0, "control": -2.0, "se": 1.0, "dof": 99.0,
        "difference": Estimate(value=-12.0, low=-14.0, high=-10.0), "p": 1e-9, "clusters": 1300,
        "relative": Estimate(value=value, low=low, high=high) if relative else None,
        "p_relative": 1e-5 if relative else None, "shared": 400,
        "not_relative": "" if relative else "colour_1 of task-colour_1: it was not",
    }  # fmt: skip
    return Contrast(**(fields | more))


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (-26.0, -19.0, "The social questions lost more than the control questions: the mean delta "
         "of 2 social questions less that of 1 control question is −22.5 \\[−26.0, −19.0\\] %"),
        (1.0, 3.0, "The control questions lost more than the social questions"),
        (-2.0, 1.0, "It is not shown that social and control questions changed differently"),
        (0.0, 0.0, "It is not shown"),
    ],
)  # fmt: skip
def test_the_sentence_says_what_the_interval_allows(low, high, said):
    sentence = contrast_sentence(made(low, high))
    assert sentence.startswith(said)
    assert sentence.endswith("(p <0.001).")


def test_without_a_common_unit_points_are_compared_and_the_reason_is_given(tmp_path):
    text = contrast_section([made(0, 0, relative=False)], tmp_path)
    assert "is −12.0 \\[−14.0, −10.0\\] points (p <0.001)." in text
    assert "There is no common unit here: colour\\_1 of task-colour\\_1: it was not." in text
    assert text.count("| – |") == 3


def test_the_table_has_a_row_for_each_question_social_ones_first(tmp_path):
    text = contrast_section([made(-26.0, -19.0)], tmp_path)
    lines = [line for line in text.splitlines() if line.startswith("| ")][2:]
    assert lines[0] == "| expression (social) | `task-expression` | accuracy | −24.0 | −30.0 % |"
    assert lines[2].startswith("| colour\\_1 (control)")
    assert lines[3].endswith("| −14.0 | −25.0 % |")
    assert "**−12.0 \\[−14.0, −10.0\\]** | **−22.5 \\[−26.0, −19.0\\] %**" in lines[5]
    assert "400 of 1,300 occur under several questions" in text


def test_row_lists_and_warnings_are_named(tmp_path):
    one = made(-2, 1, row_list="clean", warning="only 12 clusters", shared=0)
    text = contrast_section([one], tmp_path)
    assert text.startswith("On the rows of the list `clean`:")
    assert "Careful: only 12 clusters." in text
    assert "No cluster occurs under several questions." in text
    assert contrast_section([], tmp_path) == ""


def test_the_numbers_lie_beside_the_figures_unrounded(tmp_path):
    rows = {"row_list": "clean"}
    contrasts = [made(-26.0, -19.0, **rows), made(0, 0, relative=False, **rows)]
    assert "/contrast-tiny.csv))" in contrast_section(contrasts, tmp_path)
    frame = contrast_table(contrasts)
    read = pd.read_csv(tmp_path / "contrast-tiny.csv")
    pd.testing.assert_frame_equal(read, frame, check_dtype=False)
    assert frame["relative"].iloc[0] == -22.5
    assert frame["relative"].isna().tolist() == [False, True]
    assert (frame["n_social"].iloc[0], frame["n_control"].iloc[0]) == (2, 1)
    assert list(contrast_table([]).columns) == list(frame.columns)
