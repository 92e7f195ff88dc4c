"""Real photographs through the manifest: 200 crops, faces and other things, and larger pictures.

They come with scikit-image, so nothing is downloaded.
"""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from degradation.pixels import pixel_hash, to_rgb
from degradation.tasks import Task, get_task
from degradation.views import square

FACES = 100  # of the 200 crops the first half are faces


def split_of(i: int) -> str:
    return ("train", "train", "train", "val", "test")[i % 5]


def crops() -> np.ndarray:
    """Grey crops, uint8, shape (200, 25, 25)."""
    return np.rint(data.lfw_subset() * 255).astype(np.uint8)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    folder: Path = tmp_path_factory.mktemp("photographs")
    with (folder / "faces.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "label", "split"])
        for i, crop in enumerate(crops()):
            name = f"{i:03}.{'png' if i % 2 else 'jpg'}"
            Image.fromarray(crop).save(folder / name, **({} if i % 2 else {"quality": 95}))
            table.writerow([name, "face" if i < FACES else "other", split_of(i)])
    return get_task(f"manifest:{folder / 'faces.csv'}")


def pixels(task: Task, split: str, size: int = 25) -> np.ndarray:
    """What both encoders see, shape (n, size, size, 3)."""
    references = task.read(split).pictures[:, 0]
    return np.stack([square(to_rgb(task.open(reference)), size) for reference in references])


def test_all_rows_are_used_and_labelled(task):
    assert task.spec.label_sets == {"label": ("face", "other")}
    counts = {
        split: np.bincount(task.read(split).labels["label"]).tolist() for split in task.splits
    }
    assert counts == {"train": [60, 60], "val": [20, 20], "test": [20, 20]}
    assert all(task.read(split).left_out == () for split in task.splits)
    expected = [i >= FACES for i in range(200) if split_of(i) == "test"]
    assert task.read("test").labels["label"].tolist() == expected


def test_pixels_are_those_of_the_photographs(task):
    stored = crops()[[i for i in range(200) if split_of(i) == "train"]].astype(int)
    seen = pixels(task, "train").astype(int)
    names = task.read("train").ids
    for crop, picture, name in zip(stored, seen, names, strict=True):
        error = np.abs(picture - crop[..., None])
        assert error.max() == 0 if name.endswith("png") else error.mean() < 3


def test_hashes_tell_all_photographs_apart(task):
    hashes = {pixel_hash(p) for split in task.splits for p in pixels(task, split, size=64)}
    assert len(hashes) == 200


def test_labels_belong_to_their_photographs(task):
    """The mean face and the mean other thing of train tell most of test apart."""
    train, test = pixels(task, "train").astype(float), pixels(task, "test").astype(float)
    labels = task.read("train").labels["label"]
    means = np.stack([train[labels == c].mean(axis=0) for c in range(2)])
    distance = ((test[:, None] - means) ** 2).sum(axis=(2, 3, 4))
    assert (distance.argmin(axis=1) == task.read("test").labels["label"]).mean() > 0.7


def test_folder_of_large_photographs(tmp_path):
    photographs = {
        "people/astronaut.jpg": data.astronaut(),
        "people/camera.png": data.camera(),
        "things/coffee.webp": data.coffee(),
        "things/rocket.tif": data.rocket(),
        "things/motorcycle.gif": data.stereo_motorcycle()[0],
    }
    for name, picture in photographs.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(picture).save(tmp_path / name)
    task = get_task(f"manifest:{tmp_path}")
    rows = task.read("all")
    assert rows.ids.tolist() == sorted(photographs)
    for name, picture in zip(rows.ids, pixels(task, "all", size=96), strict=True):
        original = photographs[name].astype(float)
        channels = original if original.ndim == 3 else np.repeat(original[..., None], 3, axis=2)
        # Independent of the resampling filter: means over a 4 x 4 grid of cells.
        assert np.abs(cell_means(picture) - cell_means(channels)).max() < 4, name


def cell_means(picture: np.ndarray, n: int = 4) -> np.ndarray:
    rows = np.array_split(np.asarray(picture, dtype=float), n, axis=0)
    return np.array([[c.mean(axis=(0, 1)) for c in np.array_split(r, n, axis=1)] for r in rows])
