"""Each word from the numbers that deserve it, and `undecided` where an interval straddles."""

from dataclasses import replace

import pytest

from probes.diagnosis.rules import Evidence, diagnose
from probes.records import Estimate, Numbers


def around(value, half=1.0):
    return Estimate(value=value, low=value - half, high=value + half)


def numbers(delta, half=1.0):
    return Numbers(
        pre=around(90.0), post=around(90.0 + delta), delta=around(delta, half),
        delta_low_90=delta - 0.84 * half, delta_high_90=delta + 0.84 * half, p=0.5,
        p_mcnemar=None, broken=None, fixed=None, n=1000, clusters=300,
    )  # fmt: skip


NOTHING_LOST = Evidence(
    identical=False, linear=numbers(0.0), recovered=None, attended=None, orthogonal=numbers(0.0),
    affine=numbers(0.0), gain=around(1.0), remains=around(100.0), signal=around(1.0, 0.1),
    spread=around(1.0, 0.1),
)  # fmt: skip
GONE = replace(
    NOTHING_LOST, linear=numbers(-60.0), recovered=around(20.0, 5), orthogonal=numbers(-70.0),
    affine=numbers(-65.0), remains=around(5.0, 3), signal=around(0.02, 0.02),
)  # fmt: skip


def word(found, **changes):
    return diagnose(replace(found, **changes), margin=2.0)[0]


@pytest.mark.parametrize(
    ("found", "changes", "expected"),
    [
        (NOTHING_LOST, {"identical": True}, "unchanged"),
        (NOTHING_LOST, {}, "rotated"),
        (NOTHING_LOST, {"linear": numbers(9.0)}, "rotated"),
        (NOTHING_LOST, {"orthogonal": numbers(-8.0)}, "re-mapped"),
        (
            NOTHING_LOST,
            {"orthogonal": numbers(-8.0), "affine": numbers(-7.0)},
            "re-encoded",
        ),
        (NOTHING_LOST, {"orthogonal": numbers(-8.0), "affine": numbers(-2.0, 3)}, "undecided"),
        (NOTHING_LOST, {"linear": numbers(-1.0, 2)}, "undecided"),
        (GONE, {}, "gone"),
        (GONE, {"recovered": around(95.0, 4)}, "no longer linear"),
        (GONE, {"signal": around(1.0, 0.1), "spread": around(5.0, 0.2)}, "buried in noise"),
        (GONE, {"remains": around(60.0, 4)}, "faded"),
        (GONE, {"signal": None, "spread": None}, "undecided"),
        (GONE, {"recovered": around(50.0, 9)}, "undecided"),
        (GONE, {"recovered": None}, "undecided"),
        (GONE, {"signal": around(0.5, 0.2)}, "undecided"),
        (GONE, {"signal": around(1.0, 0.1)}, "undecided"),
        (GONE, {"remains": around(25.0, 4)}, "undecided"),
        (GONE, {"affine": numbers(-29.0)}, "undecided"),
        (GONE, {"gain": around(30.0)}, "undecided"),
        (GONE, {"gain": None}, "gone"),
    ],
)
def test_words(found, changes, expected):
    assert word(found, **changes) == expected


def test_the_margin_decides_what_is_too_small_to_matter():
    found = replace(NOTHING_LOST, linear=numbers(-3.0, 0.5))
    assert diagnose(found, margin=4.0)[0] == "rotated"
    assert diagnose(found, margin=2.0)[0] != "rotated"


def test_reasons_carry_the_numbers_and_what_an_attentive_probe_still_finds():
    _, reasons = diagnose(replace(GONE, attended=around(95.0, 2)), margin=2.0)
    said = " ".join(reasons)
    assert "−60.0 [−61.0, −59.0]" in said
    assert "20 % [15, 25]" in said
    assert "An attentive probe has 95 % [93, 97] back" in said
    assert "attentive" not in " ".join(diagnose(GONE, margin=2.0)[1])


def test_there_is_no_negative_zero():
    said = " ".join(diagnose(replace(NOTHING_LOST, linear=numbers(-0.01, 0.02)), margin=2.0)[1])
    assert "−0.0 " not in said
    assert "+0.0 [+0.0, +0.0]" in said
