"""Published numbers beside measured ones, each with where it stands and how it differs.

They say what others reached on the same data, not what a probe should reach: most are of networks
that were trained on the task, while a probe reads frozen features. So each is shown with what
differs, and none for the rendered world, of which nothing is published.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from reports.formats import estimate, points
from reports.markdown import code, escape, table
from reports.verdicts.cells import Cell
from reports.verdicts.tables import confirmatory

__all__ = ["PUBLISHED", "PublishedNumber", "published_section"]

Status = Literal["read in the source", "claimed, second-hand"]
READ: Status = "read in the source"
CLAIMED: Status = "claimed, second-hand"
TRAINED = "trained on the task, not a probe of frozen features"


@dataclass(frozen=True, slots=True)
class PublishedNumber:
    """One number that somebody published.

    Attributes:
        task: Of ours, by name.
        metric: Of ours, by name, that it is to stand beside.
        method: Whose.
        value: In points (x 100); errors as errors.
        source: Where it stands.
        differs: What is not as in a probe run of ours, as a clause.
        status: Whether the source itself was read.
    """

    task: str
    metric: str
    method: str
    value: float
    source: str
    differs: str
    status: Status = READ


def _numbers(
    task: str,
    metric: str,
    source: str,
    differs: str,
    values: dict[str, float],
    status: Status = READ,
) -> list[PublishedNumber]:
    """Several methods from one source, on one metric."""
    return [
        PublishedNumber(task, metric, method, value, source, differs, status)
        for method, value in values.items()
    ]


_HAGRID = "hukenovs/hagrid, README, F1 of gestures"
_GAZE_LLE = "Gaze-LLE (arXiv 2412.09586), table 3"
_GRM = "wzhouxiff/SR (GRM), README"
_LAM = "EGO4D/social-interactions, branch lam, README"
_PAPER = "arXiv 2512.01148, by a summary of it"
_F1 = (
    f"{TRAINED}; their F1 is accuracy averaged over batches, no_gesture left out, whole pictures "
    "without a hand box"
)
_HEAT = f"{TRAINED}; the point is the peak of a heat map, ours the one of least expected distance"
_VAL = f"{TRAINED}; the best epoch is usually chosen on the same validation set"
_RANKED = f"{TRAINED}, with both person boxes"
_JOINT = (
    "a language model answers, trained on the task; whether pictures of the test split were in "
    "the training of the other PISC task is not known"
)

_GAZE_VALUES = {
    "one human": (92.4, 9.6, 4.0),
    "Recasens 2015": (87.8, 19.0, 11.3),
    "Chong 2020": (92.1, 13.7, 7.7),
    "Gupta 2022": (94.3, 11.4, 5.6),
    "Tafasca 2024 (Sharingan)": (94.4, 11.3, 5.7),
    "Gaze-LLE ViT-B": (95.6, 10.4, 4.5),
    "Gaze-LLE ViT-L": (95.8, 9.9, 4.1),
    "Gaze-LLE ViT-B without head": (92.6, 16.9, 10.5),
}
_GAZE_METRICS = ("auc_score", "average_l2_error", "minimum_l2_error")

PUBLISHED: tuple[PublishedNumber, ...] = (
    *_numbers("hagrid", "accuracy", _HAGRID, _F1, {
        "ResNet152": 98.6, "ResNet18": 98.3, "ConvNeXt-base": 96.4, "MobileNetV3-L": 93.4,
        "ViT-B/16": 91.7, "MobileNetV3-S": 86.7,
    }),
    *(
        number
        for place, metric in enumerate(_GAZE_METRICS)
        for number in _numbers(
            "gazefollow", metric, _GAZE_LLE,
            _HEAT, {method: values[place] for method, values in _GAZE_VALUES.items()},
        )
    ),
    *(
        number
        for metric, value in zip(_GAZE_METRICS, (94.9, 10.5, 4.7), strict=True)
        for number in _numbers(
            "gazefollow", metric, "hustvl/ViTGaze, README", _HEAT, {"ViTGaze": value}
        )
    ),
    *_numbers("affectnet", "accuracy", "yaoing/DAN, README", _VAL, {"DAN": 62.09}),
    *_numbers("affectnet-7", "accuracy", "yaoing/DAN, README", _VAL, {"DAN": 65.69}),
    *_numbers("affectnet", "accuracy", "av-savchenko/face-emotion-recognition, README", _VAL,
              {"HSEmotion enet_b2": 63.125}),
    *_numbers("affectnet-7", "accuracy", "av-savchenko/face-emotion-recognition, README", _VAL,
              {"HSEmotion enet_b2": 66.51}),
    *_numbers("affectnet-7", "accuracy", "arXiv 2409.10545, abstract",
              f"{_VAL}; far above the field, its split was not checked", {"ResEmoteNet": 72.39},
              CLAIMED),
    *_numbers("pisc-domain", "mean_average_precision", _GRM, _RANKED, {
        "Pair CNN": 65.1, "Pair+BBox+Union": 72.2, "Dual-Glance": 79.7, "GRM": 82.8,
    }),
    *_numbers("pisc-relationship", "mean_average_precision", _GRM, _RANKED, {
        "Pair CNN": 48.2, "Pair+BBox+Union": 56.9, "Dual-Glance": 63.2, "GRM": 68.7,
    }),
    *_numbers("pisc-relationship", "recall:couple", _GRM, _RANKED, {"GRM": 58.6}),
    *_numbers("pisc-relationship", "recall:commercial", _GRM, _RANKED, {"GRM": 39.5}),
    *_numbers("pisc-domain", "mean_average_precision", _PAPER, _JOINT,
              {"SocialFusion, trained on this task alone": 91.7,
               "SocialFusion, trained on all tasks": 94.4}, CLAIMED),
    *_numbers("lam", "binary_mean_average_precision", _LAM,
              f"{TRAINED}; seven face crops in a row", {
                  "baseline from scratch, validation": 78.07,
                  "baseline from Gaze360, validation": 79.90,
              }),
    *_numbers("lam", "accuracy", _LAM, f"{TRAINED}; seven face crops in a row", {
        "baseline from scratch, validation": 87.97, "baseline from Gaze360, validation": 91.78,
    }),
    *_numbers("lam", "binary_mean_average_precision", _LAM,
              f"{TRAINED}; on the hidden test split, ours is the validation split",
              {"baseline, test": 66.07}),
    *_numbers("lam", "accuracy", _LAM,
              f"{TRAINED}; on the hidden test split, ours is the validation split",
              {"baseline, test": 75.38}),
    *_numbers("lam", "binary_mean_average_precision", "KanokphanL/Ego4D_LAM_InternLSTM, README",
              f"{TRAINED}; on the hidden test split, ours is the validation split",
              {"InternLSTM, one model, test (best)": 77.18, "GazePose, test": 76.29}),
)  # fmt: skip
"""In points. What the paper itself says is second-hand here: its tables were not read."""

PAPER_CLAIM = (
    "Of encoders before and after pre-training the paper is said to report (claimed, second-hand): "
    "linear probes read four of five tasks better before for Qwen2-VL, all five for MolmoE, most "
    "for SAIL-VL, typically by 4 to 5 points. Its probe protocol is not known here, so no number "
    "of ours can confirm or refute one of its own."
)


OFFICIAL_ROWS = {
    "hagrid": 165_500,
    "gazefollow": 4_782,
    "affectnet": 3_999,
    "affectnet-7": 3_500,
    "pisc-domain": 15_497,
    "pisc-relationship": 3_961,
    "lam": 4_000,
}
"""Test rows of each data set; of looking-at-me a low bound, for they depend on the stride.

Where fewer than half of them are there, the data are a sample or a miniature, not the data set.
"""


def published_section(cells: Sequence[Cell]) -> str:
    """Published numbers beside those measured, as Markdown; empty unless a data set has some.

    Args:
        cells: Of one pair; those at the declared block in the declared arm are shown.
    """
    shown = list(_beside(cells))
    if not shown:
        return ""
    rows = [
        (
            escape(cell.label),
            escape(cell.metric),
            escape(estimate(cell.comparison.pre)),
            escape(estimate(cell.comparison.post)),
            escape(one.method),
            points(one.value),
            escape(one.differs),
            escape(one.source),
            one.status,
        )
        for cell, one in shown
    ]
    header = (
        "Question", "Metric", "Pre, here", "Post, here", "Published", "Value", "What differs",
        "Source", "Status",
    )  # fmt: skip
    lists = sorted({cell.task.row_list for cell, _ in shown} - {""})
    note = (
        f" Questions on the row lists {', '.join(map(code, lists))} leave out rows that the "
        "published numbers count."
        if lists
        else ""
    )
    return (
        "What others reached on the same data. **None of these has the protocol of this report**: "
        "they say where the data stand, not what a probe should reach. Values are in points, "
        f"errors × 100.{note}\n\n{table(header, rows, right=(2, 3, 5))}\n\n{PAPER_CLAIM}"
    )


def _beside(cells: Sequence[Cell]) -> Iterable[tuple[Cell, PublishedNumber]]:
    """The declared reading of each question, in every metric that somebody published.

    Features that were imported may be of any rows, whatever their task is called.
    """
    blocks = {
        (cell.task.label, cell.comparison.question, cell.comparison.block)
        for cell in confirmatory(cells)
    }
    for cell in cells:
        c = cell.comparison
        if cell.pair.imported or c.n < OFFICIAL_ROWS.get(cell.task.name, 0) / 2:
            continue
        if c.arm or (cell.task.label, c.question, c.block) not in blocks:
            continue
        for one in PUBLISHED:
            if (one.task, one.metric) == (cell.task.name, c.metric):
                yield cell, one
