"""What a run is trained with unless told otherwise."""

from collections.abc import Mapping, Sequence
from typing import Any

from degradation.encoders.registry import PLANTED
from degradation.tasks.registry import DEFAULT_TASKS
from socialfusion.records import FusionSettings

__all__ = ["SOCIAL_TASKS", "default_settings"]

SOCIAL_TASKS = tuple(name for name in DEFAULT_TASKS if name != "scenes-objects")
"""The five social tasks of the rendered world."""
_TINY: Mapping[str, Any] = {
    "language_model": "tiny",
    "steps": 400,
    "learning_rate": 4e-3,
    "connector_width": 192,
    "lora_rank": 8,
    "attention": "prefix",
    "heatmap_weight": 100.0,
}
"""For the encoders and the language model that ship, two layers of width 96: found by trying."""
_PUBLISHED: Mapping[str, Any] = {
    "language_model": "meta-llama/Llama-3.2-1B",
    "steps": 10_000,
    "dtype": "bfloat16",
}
"""As in the paper; what it does not say, such as the number of steps, is a guess."""


def default_settings(
    encoder: str, tasks: Sequence[str] | None = None, **changes: Any
) -> FusionSettings:
    """The settings of a run.

    Args:
        encoder: As typed; those that ship get small parts, unless a Qwen2-VL is trained.
        tasks: Names; the five social tasks of the rendered world if None.
        changes: Fields of `FusionSettings` to put in place of the defaults; None leaves one.

    Example:
        >>> default_settings("tiny:pre", seed=1).connector_width
        192
    """
    family = encoder.removeprefix("random:").partition(":")[0].partition("@")[0]
    small = family in ("tiny", *PLANTED) and not changes.get("vlm")
    base = _TINY if small else _PUBLISHED
    given = {name: value for name, value in changes.items() if value is not None}
    wanted = {"encoder": encoder, "tasks": tuple(tasks or SOCIAL_TASKS), **base, **given}
    return FusionSettings(**wanted)
