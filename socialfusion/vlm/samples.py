"""The rows behind each question as pictures: the same that SocialFusion and the probes read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from PIL.Image import Image
from transformers import Qwen2VLConfig

from degradation.errors import ConfigError
from degradation.geometry import Geometry
from degradation.tasks.registry import get_task
from probes.table import open_pair
from socialfusion.samples import Places, QuestionSamples, TaskSamples, frame_boxes
from socialfusion.sources import find_side
from socialfusion.tokens import Boxes, Points, Rows, Seen
from socialfusion.vlm.batch import PictureBatch
from socialfusion.vlm.config import VlmConfig
from socialfusion.vlm.patches import native_geometry, patches, picture_array

__all__ = ["NoTokens", "PictureSamples", "open_rows", "with_pictures"]


class NoTokens:
    """Stands where SocialFusion has tokens of an encoder: here there are none.

    Attributes:
        shape: Of the tokens of a row.
        slow: That samples are worth threads that read ahead, since pictures are opened for them.
    """

    shape, slow = (0, 0), True

    def see(
        self, rows: Rows, boxes: Boxes, points: Points, rng: np.random.Generator | None
    ) -> Seen:
        """Never called: samples give pictures.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError


def open_rows(
    root: Path, encoder: str, tasks: Sequence[str], *, row_list: str = ""
) -> tuple[TaskSamples, ...]:
    """The cached rows of tasks, without tokens, in the order given.

    Args:
        root: Root of all caches.
        encoder: Whose features name the rows, as for `socialfusion.sources.find_side`.
        tasks: Names.
        row_list: Name of the row lists that choose rows; empty for all.

    Raises:
        CacheError: Features are missing.
        ConfigError: A task is named twice, or has no row list of that name.
        DataError: A box has no area.
    """
    if len(set(tasks)) != len(tasks) or not tasks:
        raise ConfigError(
            f"Expected one or more different tasks, found {', '.join(tasks) or 'none'}."
        )
    found = []
    for task in tasks:
        pair, side = find_side(root, encoder, task)
        table, entry = open_pair(root, task, pair, row_list=row_list)
        found.append(TaskSamples(table, entry, side, -1, frame_boxes(table), NoTokens()))
    return tuple(found)


@dataclass(frozen=True, slots=True, eq=False)
class PictureSamples(QuestionSamples):
    """One question and its rows, put as pictures.

    Attributes:
        open: Picture reference to a picture.
        references: Of all rows of the table, object array of str, shape (n, f).
        qwen: Configuration of the model that looks.
        geometry: How pictures become pixels.
    """

    open: Callable[[str], Image]
    references: np.ndarray
    qwen: Qwen2VLConfig
    geometry: Geometry

    def batch(self, rows: Places, rng: np.random.Generator | None = None) -> PictureBatch:
        """The question put to some rows.

        Args:
            rows: Positions in the table, shape (b,).
            rng: Not used: pictures are taken as they are.

        Raises:
            DataError: A picture cannot be read, or has no box to be cut to.
        """
        table, question = self.task.table, self.question
        seen, grids = [], []
        boxes = np.empty((len(rows), self.task.frames, len(question.roles), 4), dtype=np.float32)
        for k, row in enumerate(rows.tolist()):
            for frame, reference in enumerate(self.references[row]):
                own = {role: column[row, frame] for role, column in self.task.boxes.items()}
                crop = own.get(self.geometry.crop, np.full(4, np.nan, dtype=np.float32))
                array, placement = picture_array(self.open(reference), self.geometry, box=crop)
                values, grid = patches(array, self.qwen)
                seen.append(values)
                grids.append(grid)
                for r, role in enumerate(question.roles):
                    boxes[k, frame, r] = placement.boxes_to_array(own[role][None])[0]
        gaze = question.kind == "gaze"
        labels = None if gaze else torch.from_numpy(table.labels[question.name][rows])
        return PictureBatch(
            question=question,
            patches=torch.cat(seen) if seen else torch.zeros(0, 1),
            grids=torch.tensor(grids, dtype=torch.int64).view(-1, 3),
            boxes=torch.from_numpy(boxes),
            labels=labels,
            points=torch.from_numpy(table.points[rows]) if gaze else None,
        )


def with_pictures(
    samples: QuestionSamples,
    config: VlmConfig,
    qwen: Qwen2VLConfig,
    *,
    data_root: Mapping[str, Path | None] | None,
) -> PictureSamples:
    """A question whose rows are put as pictures.

    Tasks that are cut to a box everywhere (`TaskSpec.crop`) are so here.

    Args:
        samples: The question and its rows.
        config: Bounds on the size of pictures.
        qwen: Configuration of the model that looks.
        data_root: Folder of the pictures by task; None for tasks that need none.

    Raises:
        ConfigError: The task is not known.
        DataError: Its folder is missing.
    """
    table = samples.task.table
    spec = table.spec
    task = get_task(spec.name, data_root=(data_root or {}).get(spec.name))
    own = {field.name: getattr(samples, field.name) for field in fields(samples)}
    return PictureSamples(
        **own,
        open=task.open,
        references=np.concatenate([table.rows(split).pictures for split in table.features]),
        qwen=qwen,
        geometry=native_geometry(
            qwen,
            min_pixels=config.min_pixels,
            max_pixels=config.max_pixels,
            crop=spec.crop if samples.question.kind == "classes" else "",
        ),
    )
