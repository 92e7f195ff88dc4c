"""Which runs a comparison needs. A run is named after its settings, so equal ones are one run."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

from pydantic import ValidationError

from degradation.cache.schema import slug
from degradation.errors import ConfigError
from socialfusion.records import FusionSettings

__all__ = [
    "BUDGETS",
    "PlannedRun",
    "VariantPlan",
    "changed",
    "over_seeds",
    "plan_transfer",
    "planned",
]

Budget = Literal["per-task", "total"]
BUDGETS: Mapping[Budget, str] = {"per-task": "equal-samples", "total": "equal-steps"}
"""Name of the comparison by budget."""


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """A training run.

    Attributes:
        name: Its folder below `<results>/socialfusion/`.
        settings: What is trained.
    """

    name: str
    settings: FusionSettings


@dataclass(frozen=True, slots=True)
class VariantPlan:
    """The runs of one way to compare; each tuple has one run for each seed.

    Attributes:
        budget: Of the joint runs.
        row_list: Of the rows; empty for the official ones.
        singles: By task.
        joint: All tasks.
        pairs: By two tasks; empty unless asked for.
    """

    budget: Budget
    row_list: str
    singles: Mapping[str, tuple[PlannedRun, ...]]
    joint: tuple[PlannedRun, ...]
    pairs: Mapping[tuple[str, str], tuple[PlannedRun, ...]]

    @property
    def name(self) -> str:
        """`equal-samples`, or `equal-steps@clean`."""
        return BUDGETS[self.budget] + (f"@{self.row_list}" if self.row_list else "")

    @property
    def runs(self) -> tuple[PlannedRun, ...]:
        """All of them."""
        groups = (*self.singles.values(), self.joint, *self.pairs.values())
        return tuple(run for group in groups for run in group)


def planned(settings: FusionSettings) -> PlannedRun:
    """The run of these settings, with a name for people and eight digits of their hash."""
    tasks = settings.tasks
    label = "-with-".join(tasks) if len(tasks) < 3 else f"joint-of-{len(tasks)}"
    # Without defaults, so that a setting of a later version leaves the names as they are.
    text = json.dumps(settings.model_dump(mode="json", exclude_defaults=True), sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return PlannedRun(f"{slug(label)}-seed-{settings.seed}-{digest}", settings)


def changed(settings: FusionSettings, changes: Mapping[str, Any]) -> FusionSettings:
    """The settings with some of them changed, checked.

    Args:
        settings: To start from.
        changes: Values by name; text is read as the type of the setting.

    Raises:
        ConfigError: There is no such setting, or it cannot have that value.

    Example:
        >>> one = FusionSettings(encoder="tiny:pre", tasks=("a",), language_model="x", steps=5)
        >>> changed(one, {"lora_rank": "4"}).lora_rank
        4
    """
    if unknown := sorted(set(changes) - set(FusionSettings.model_fields)):
        raise ConfigError(
            f"Expected a setting among {', '.join(FusionSettings.model_fields)}; found "
            f"{unknown[0]!r}."
        )
    try:
        return FusionSettings.model_validate({**settings.model_dump(), **changes})
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        raise ConfigError(
            f"{name} cannot be {changes.get(name)!r}: {first['msg'].lower()}. Give another value."
        ) from error


def over_seeds(settings: FusionSettings, seeds: Sequence[int]) -> tuple[PlannedRun, ...]:
    """The runs of the same settings by each seed."""
    return tuple(planned(changed(settings, {"seed": seed})) for seed in seeds)


def plan_transfer(
    settings: FusionSettings,
    *,
    questions: Mapping[str, int],
    seeds: Sequence[int],
    budgets: Sequence[Budget],
    row_lists: Sequence[str],
    pairwise: bool,
) -> tuple[VariantPlan, ...]:
    """The runs behind a transfer table.

    Args:
        settings: Of the joint run; budget, row list and seed are set by the others.
        questions: How many questions each task asks. A task of one question is trained alone in the
            same way under both budgets, so those runs are shared.
        seeds: Training seeds.
        budgets: See `BUDGETS`.
        row_lists: Names of row lists; an empty one stands for the official rows.
        pairwise: Whether to train every two tasks, too.

    Raises:
        ConfigError: There are fewer than two tasks, one comes twice, or no seeds.
    """
    tasks = settings.tasks
    if len(tasks) < 2 or len(set(tasks)) < len(tasks):
        raise ConfigError(
            f"Expected two or more different tasks to train together, found {', '.join(tasks)}. "
            "Name them with --task."
        )
    if not seeds or not budgets or not row_lists:
        raise ConfigError("Expected at least one seed, one budget and one choice of rows.")

    def runs(some: tuple[str, ...], budget: Budget, rows: str) -> tuple[PlannedRun, ...]:
        changes = {"tasks": some, "budget": budget, "row_list": rows}
        if len(some) == 1 and questions[some[0]] == 1:
            # One question: both budgets are the same, and there are no gradients to combine.
            changes |= {"budget": "per-task", "aggregator": ""}
        return over_seeds(changed(settings, changes), seeds)

    return tuple(
        VariantPlan(
            budget=budget,
            row_list=rows,
            singles={task: runs((task,), budget, rows) for task in tasks},
            joint=runs(tasks, budget, rows),
            pairs={two: runs(two, budget, rows) for two in combinations(tasks, 2)}
            if pairwise
            else {},
        )
        for rows in row_lists
        for budget in budgets
    )
