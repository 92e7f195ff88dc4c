"""The ten metrics of the five social tasks by which positive transfers are counted.

The paper counts ten without naming them. These are the usual ones of the data sets that add up to
ten: gesture accuracy and F1, the three gaze metrics, expression accuracy, mAP of both questions of
PISC, and mAP and accuracy of looking-at-me. A task of the rendered world stands for the data set
that it is framed like. HaGRID's official F1 is accuracy, so its second one is the macro F1.
"""

from collections.abc import Mapping

__all__ = ["COUNTED", "is_counted"]

_GESTURE = {"gesture": ("accuracy", "macro_f1")}
_GAZE = {"gaze": ("average_l2_error", "minimum_l2_error", "auc_score")}
_EXPRESSION = {"expression": ("accuracy",)}
_DOMAIN = {"domain": ("mean_average_precision",)}
_LOOKING = {"looking": ("binary_mean_average_precision", "accuracy")}

COUNTED: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "scenes-gesture": _GESTURE,
    "hagrid": _GESTURE,
    "scenes-gaze": _GAZE,
    "gazefollow": _GAZE,
    "scenes-expression": _EXPRESSION,
    "affectnet": _EXPRESSION,
    "affectnet-7": _EXPRESSION,
    "scenes-relation": {"relation": ("mean_average_precision",), **_DOMAIN},
    "pisc-relationship": {"relationship": ("mean_average_precision",)},
    "pisc-domain": _DOMAIN,
    "scenes-looking": _LOOKING,
    "lam": _LOOKING,
}
"""Metrics by task and question."""


def is_counted(task: str, question: str, metric: str, declared: str) -> bool:
    """Whether a metric is among those counted; of an unknown task, the declared ones are.

    Args:
        task: Name of the task.
        question: One of its questions.
        metric: Name of the metric.
        declared: The first metric of the question.

    Example:
        >>> is_counted("hagrid", "gesture", "macro_f1", "macro_f1")
        True
        >>> is_counted("affectnet", "expression", "macro_f1", "accuracy")
        False
    """
    if task not in COUNTED:
        return metric == declared
    return metric in COUNTED[task].get(question, ())
