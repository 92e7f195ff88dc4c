"""All tasks by name.

To add a data set, write one file with a function that builds its `Task` and add one line to
`_TASKS`. Builders are named as text and imported when asked for, so that listing the tasks imports
nothing heavy.
"""

import difflib
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from degradation.errors import ConfigError
from degradation.tasks.task import Task

__all__ = ["DEFAULT_TASKS", "get_task", "task_names"]

DEFAULT_TASKS: tuple[str, ...] = (
    "scenes-expression",
    "scenes-gesture",
    "scenes-gaze",
    "scenes-relation",
    "scenes-looking",
    "scenes-objects",
)
"""The tasks of the rendered world, which need no data."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """Where a builder is, `module:function`, and whether it reads data from disk.

    It is called with the task's name, or with what follows the colon where the name ends in one;
    if `on_disk`, also with `data_root`.
    """

    builder: str
    on_disk: bool = False


_TASKS: dict[str, _Entry] = {
    **dict.fromkeys(DEFAULT_TASKS, _Entry("degradation.tasks.scenes:scenes_task")),
    "manifest:": _Entry("degradation.tasks.manifest:manifest_task", on_disk=True),
}


def task_names() -> tuple[str, ...]:
    """The names of all tasks that are whole by themselves, so not `manifest:`, in fixed order."""
    return tuple(name for name in _TASKS if not name.endswith(":"))


def get_task(name: str, *, data_root: Path | None = None, **options: object) -> Task:
    """Builds a task.

    Args:
        name: One of `task_names()`, or `manifest:FILE` or `manifest:FOLDER`.
        data_root: The folder of the data; tasks that read nothing from disk pass it over, so that
            one data root serves a list of tasks.
        options: Further arguments of the task's builder.

    Raises:
        ConfigError: No task has this name.
        DataError: The data are missing or not what they should be.
    """
    prefix, colon, target = name.partition(":")
    entry = _TASKS.get(prefix + colon)
    if entry is None or bool(colon) != bool(target):
        raise ConfigError(
            f"Expected the name of a task, found {name!r}.{_suggestion(name)} Tasks: "
            f"{', '.join(task_names())}, manifest:FILE (CSV or Parquet), manifest:FOLDER."
        )
    module, _, function = entry.builder.partition(":")
    build: Callable[..., Task] = getattr(importlib.import_module(module), function)
    root = {"data_root": data_root} if entry.on_disk else {}
    return build(target or name, **root, **options)


def _suggestion(name: str) -> str:
    if Path(name).suffix.lower() in (".csv", ".parquet") or Path(name).is_dir():
        return f" Did you mean 'manifest:{name.partition(':')[2] or name}'?"
    near = difflib.get_close_matches(name.casefold(), task_names(), n=3, cutoff=0.6)
    return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
