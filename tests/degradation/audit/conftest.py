"""Small tasks of pictures in a folder, with whatever they are to share."""

import io
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from degradation.pixels import open_picture
from degradation.tasks.task import Rows, Task, TaskSpec


@dataclass
class Row:
    """One row: its picture, label, cluster and boxes by role."""

    picture: str
    label: int = 0
    cluster: str = ""
    boxes: dict[str, tuple[float, ...]] = field(default_factory=dict)


@dataclass
class Album:
    """A folder to fill with pictures, and tasks that read it."""

    root: Path

    def picture(self, name: str, seed: int, *, quality: int = 90, scale: float = 1.0) -> str:
        """A picture with large shapes, decided by its seed; saved in another way if asked to."""
        rng = np.random.default_rng(seed)
        shapes = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        big = shapes.resize((240, 180), Image.Resampling.BICUBIC)
        file = io.BytesIO()
        big.resize((round(240 * scale), round(180 * scale))).save(file, "JPEG", quality=quality)
        (self.root / name).write_bytes(file.getvalue())
        return name

    def task(
        self,
        name: str,
        splits: dict[str, list[Row]],
        *,
        cluster: str = "picture",
        classes: tuple[str, ...] = ("a", "b", "c"),
        frames: int = 1,
    ) -> Task:
        roles = tuple(next(iter(splits.values()))[0].boxes)
        spec = TaskSpec(
            name=name,
            kind="classes",
            social=True,
            label_sets={"label": classes},
            roles=roles,
            regions=("image",),
            metrics={"label": ("accuracy",)},
            cluster=cluster,
            source=f"test {name}",
        )
        read = {
            split: self._rows(name, split, rows, roles, frames) for split, rows in splits.items()
        }
        return Task(
            spec, tuple(splits), read=read.__getitem__, open=partial(open_picture, root=self.root)
        )

    @staticmethod
    def _rows(name: str, split: str, rows: list[Row], roles: tuple[str, ...], frames: int) -> Rows:
        def column(values: list) -> np.ndarray:
            return np.array(values, dtype=object)

        boxes = {
            role: np.array([[row.boxes[role]] * frames for row in rows], dtype=np.float32)
            for role in roles
        }
        pictures = np.array(
            [[f"frame {f} of {row.picture}" for f in range(frames)] for row in rows], dtype=object
        )
        pictures[:, frames // 2] = [row.picture for row in rows]
        return Rows(
            ids=column([f"{name}/{split}/{i}" for i in range(len(rows))]),
            pictures=pictures,
            boxes=boxes,
            labels={"label": np.array([row.label for row in rows], dtype=np.int64)},
            points=np.zeros((len(rows), 0, 2), dtype=np.float32),
            clusters=column([row.cluster or row.picture for row in rows]),
        )


@pytest.fixture
def album(tmp_path: Path) -> Album:
    root = tmp_path / "pictures"
    root.mkdir()
    return Album(root)


@pytest.fixture
def row() -> type[Row]:
    return Row
