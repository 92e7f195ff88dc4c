"""Reading GazeFollow at its real size: annotation files, and the sizes of its pictures.

    python tests/benchmarks/read_gazefollow.py

Files of the real form are generated in a temporary folder: 130,000 training people on 117,000
pictures, 4,782 test people with ten annotators each. Pictures are small JPEG files (hard links to a
few of them, with heads of the usual length); their sizes are timed apart. A fresh process reads.
The goal for the annotations is 5 s.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

PEOPLE, PICTURES, TEST_PEOPLE, ANNOTATORS, PER_FOLDER = 130_000, 117_000, 4_782, 10, 1000


def generate(folder: Path) -> None:
    """Both annotation files, and the pictures they name."""
    rng = np.random.default_rng(0)
    sources = []
    for k in range(8):
        sources.append(folder / f"source-{k}.jpg")
        Image.new("RGB", (480 + 20 * k, 640 - 20 * k)).save(sources[-1], comment=b"c" * 600)
    with (folder / "train_annotations_release.txt").open("w", encoding="utf-8-sig") as file:
        for person in range(PEOPLE):
            picture = person % PICTURES
            path = f"train/{picture // PER_FOLDER:08d}/{picture:08d}.jpg"
            inout = ("1", "1", "1", "1", "1", "1", "1", "1", "0", "-1")[person % 10]
            file.write(f"{path},{person},{_numbers(rng)},{inout},coco,coco/{picture}.jpg\n")
            if person < PICTURES:
                _link(sources[picture % 8], folder / path)
    with (folder / "test_annotations_release.txt").open("w", encoding="utf-8-sig") as file:
        for person in range(TEST_PEOPLE):
            path = f"test2/{person // PER_FOLDER:08d}/{person:08d}.jpg"
            eye = rng.random()
            for _ in range(ANNOTATORS):
                file.write(f"{path},{person},{_numbers(rng, eye)},coco,coco/{person}.jpg\n")
            _link(sources[person % 8], folder / path)


def _numbers(rng: np.random.Generator, eye: float | None = None) -> str:
    body = rng.random(8)
    if eye is not None:
        body[4] = eye
    return ",".join(map(repr, body.tolist())) + ",101.5,50.25,200.75,150.0"


def _link(source: Path, place: Path) -> None:
    if not place.parent.exists():
        place.parent.mkdir(parents=True)
    os.link(source, place)


def measure(folder: Path) -> None:
    """Read all splits in this process, and print what it took."""
    from degradation.tasks import gazefollow, get_task

    took = [0.0]
    sizes_of = gazefollow.picture_sizes

    def timed(root: Path, paths: list[str]) -> np.ndarray:
        start = time.perf_counter()
        sizes = sizes_of(root, paths)
        took[0] += time.perf_counter() - start
        return sizes

    gazefollow.picture_sizes = timed
    start = time.perf_counter()
    task = get_task("gazefollow", data_root=folder)
    rows = {split: task.read(split) for split in task.splits}
    whole = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    counts = {split: (len(part), len(part.left_out)) for split, part in rows.items()}
    print(f"rows and rows left out: {counts}")
    print(
        f"annotations {whole - took[0]:.2f} s, sizes of {PICTURES + TEST_PEOPLE} pictures "
        f"{took[0]:.2f} s, peak {peak:.0f} MB"
    )


def main() -> None:
    """Generate, then read in a fresh process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    folder = parser.parse_args().folder
    if folder:
        measure(folder)
        return
    with tempfile.TemporaryDirectory() as made:
        generate(Path(made))
        subprocess.run([sys.executable, __file__, "--folder", made], check=True)


if __name__ == "__main__":
    main()
