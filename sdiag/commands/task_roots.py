"""Tasks with the folder that each is read from: `--task NAME`, `--task NAME=DIR`, `--data-root`."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["DataRoot", "RootedTasks", "picture_root", "task_roots"]

RootedTasks = Annotated[
    list[str] | None,
    typer.Option(
        "--task", "-t", help="Task name, or NAME=DIR; repeat for several. Default: the scenes."
    ),
]
DataRoot = Annotated[
    Path | None,
    typer.Option("--data-root", help="Folder of the data, for tasks that name none of their own."),
]


def task_roots(tasks: list[str] | None, data_root: Path | None) -> dict[str, Path | None]:
    """The data root of each task; `data_root` for those that do not name their own.

    Args:
        tasks: As typed; None for the rendered scenes. What follows the last `=` is a folder,
            unless it is part of the name of a file that exists (`manifest:a=b.csv`).
        data_root: From `--data-root`.

    Raises:
        ConfigError: A task that is given twice.
    """
    from degradation.errors import ConfigError
    from degradation.tasks.registry import DEFAULT_TASKS

    roots: dict[str, Path | None] = {}
    for text in tasks or DEFAULT_TASKS:
        name, equals, folder = text.rpartition("=")
        target = text.partition(":")[2]
        whole = not equals or (target and Path(target).exists())
        task, root = (text, data_root) if whole else (name, Path(folder))
        if task in roots:
            raise ConfigError(f"The task {task} is given twice. Name it once, with one folder.")
        roots[task] = root.expanduser().absolute() if root else None
    return roots


def picture_root(task: str, data_root: Path | None) -> Path | None:
    """The folder that the picture references of a task are relative to; None if it has none.

    Args:
        task: Its name.
        data_root: From `task_roots`.
    """
    from degradation.tasks.registry import DEFAULT_TASKS

    prefix, colon, target = task.partition(":")
    if task in DEFAULT_TASKS:
        return None
    if data_root is None and prefix + colon == "manifest:":
        place = Path(target).expanduser().absolute()
        return place if place.is_dir() else place.parent
    return data_root
