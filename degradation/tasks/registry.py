"""All tasks by name.

To add a data set, write one file with a function that builds its `Task` and add one line to
`_TASKS`. Builders are named as text and imported when asked for, so that listing the tasks imports
nothing heavy.
"""

import difflib
import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from degradation.errors import ConfigError
from degradation.tasks.about import About
from degradation.tasks.task import Task

__all__ = ["DEFAULT_TASKS", "about_task", "get_task", "on_disk_tasks", "task_names"]

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
    if `on_disk`, also with `data_root`. `about` is where the `About` of the data set is, if it is
    one that others ship.
    """

    builder: str
    on_disk: bool = False
    about: str = ""


def _data_set(module: str, builder: str) -> _Entry:
    """A data set that its owners ship: its module has the builder and `ABOUT`."""
    place = f"degradation.tasks.{module}"
    return _Entry(f"{place}:{builder}", on_disk=True, about=f"{place}:ABOUT")


_TASKS: dict[str, _Entry] = {
    **dict.fromkeys(DEFAULT_TASKS, _Entry("degradation.tasks.scenes:scenes_task")),
    **dict.fromkeys(("affectnet", "affectnet-7"), _data_set("affectnet", "affectnet_task")),
    "hagrid": _data_set("hagrid", "hagrid_task"),
    "gazefollow": _data_set("gazefollow", "gazefollow_task"),
    **dict.fromkeys(("pisc-relationship", "pisc-domain"), _data_set("pisc", "pisc_task")),
    "lam": _data_set("lam", "lam_task"),
    "manifest:": _Entry("degradation.tasks.manifest:manifest_task", on_disk=True),
}


def task_names() -> tuple[str, ...]:
    """The names of all tasks that are whole by themselves, so not `manifest:`, in fixed order."""
    return tuple(name for name in _TASKS if not name.endswith(":"))


def on_disk_tasks() -> tuple[str, ...]:
    """The tasks whose data their owners ship, in fixed order."""
    return tuple(name for name, entry in _TASKS.items() if entry.about)


def about_task(name: str) -> About:
    """What there is to say of the data set of a task, whether its folder is there or not.

    Raises:
        ConfigError: It is not one of `on_disk_tasks()`.
    """
    entry = _TASKS.get(name)
    if entry is None or not entry.about:
        raise ConfigError(
            f"Expected a data set that its owners ship, found {name!r}.{_suggestion(name)} "
            f"These are {', '.join(on_disk_tasks())}."
        )
    return _named(entry.about)


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
    build: Callable[..., Task] = _named(entry.builder)
    root = {"data_root": data_root} if entry.on_disk else {}
    return build(target or name, **root, **options)


def _named(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def _suggestion(name: str) -> str:
    if name.lower().endswith((".csv", ".parquet")) or os.path.isdir(name):
        return f" Did you mean 'manifest:{name.partition(':')[2] or name}'?"
    near = difflib.get_close_matches(name.casefold(), task_names(), n=3, cutoff=0.6)
    return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
