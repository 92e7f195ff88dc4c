"""Which pictures: one file per data set, a registry, and the record a sample is."""

from degradation.tasks.registry import DEFAULT_TASKS, get_task, task_names
from degradation.tasks.task import LeftOut, Rows, Task, TaskSpec

__all__ = ["DEFAULT_TASKS", "LeftOut", "Rows", "Task", "TaskSpec", "get_task", "task_names"]
