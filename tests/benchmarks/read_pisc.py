"""How long PISC takes to read at its real size: 23,311 pictures, 79,050 domain pairs.

    python tests/benchmarks/read_pisc.py [--folder DIR]

The annotation files have the real numbers of pictures, people and pairs; the pictures are there as
empty files, of which the reader lists the names. What was written a moment ago is in the machine's
cache. The reader runs in a fresh process, whose peak memory is its own.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from itertools import combinations
from pathlib import Path

import numpy as np

PICTURES = 23_311
SPLITS = {  # pictures in train, val and test; pairs of people; classes
    "relationship": ((16_828, 500, 1_250), 60_866, 6),
    "domain": ((13_142, 4_000, 4_000), 79_050, 3),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where to write, such as a disk to be measured")
    parser.add_argument("--read", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        return read(*options.read)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        size = write(Path(folder))
        print(f"wrote {PICTURES:,} pictures and {size / 1e6:.1f} MB of JSON", flush=True)
        for question in SPLITS:
            subprocess.run([sys.executable, __file__, "--read", question, folder], check=True)
    return None


def read(question: str, folder: str) -> None:
    from degradation.tasks import get_task

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    start = time.perf_counter()
    task = get_task(f"pisc-{question}", data_root=Path(folder))
    rows = {split: task.read(split) for split in task.splits}
    wall, cpu = time.perf_counter() - start, time.process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    counts = {split: (len(one), len(one.left_out)) for split, one in rows.items()}
    print(f"{question}: {counts} in {wall:.2f} s ({cpu:.2f} s of processor, imports included)")
    print(f"  peak {peak:.0f} MiB, of which {before:.0f} before reading")


def write(root: Path) -> int:
    """A release with pictures of zero bytes; returns the bytes of JSON."""
    rng = np.random.default_rng(0)
    people = rng.integers(3, 7, PICTURES)
    corners = rng.integers(-50, 500, (PICTURES, 6, 2))
    boxes = np.concatenate([corners, corners + rng.integers(60, 400, corners.shape)], axis=2)
    info = [
        {"id": i, "imgW": 1024, "imgH": 768, "bbox": boxes[i, : people[i]].tolist()}
        for i in range(PICTURES)
    ]
    (root / "annotation_image_info.json").write_text(json.dumps(info))
    (root / "image").mkdir()
    for i in range(PICTURES):
        (root / "image" / f"{i:05d}.jpg").touch()
    for question, (sizes, pairs, classes) in SPLITS.items():
        write_labels(root, question, sizes, pairs, classes, people, rng)
    return sum(file.stat().st_size for file in root.rglob("*.json"))


def write_labels(
    root: Path,
    question: str,
    sizes: tuple[int, ...],
    pairs: int,
    classes: int,
    people: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """Labels of exactly `pairs` pairs, and the lists of pictures."""
    chosen = rng.choice(PICTURES, sum(sizes), replace=False)
    possible = {i: list(combinations(range(1, people[i] + 1), 2)) for i in chosen.tolist()}
    counts = dict.fromkeys(possible, 1)
    left = pairs - len(counts)
    while left:
        for i, every in possible.items():
            if left and counts[i] < len(every):
                counts[i] += 1
                left -= 1
    labels = {
        str(i): {f"{a} {b}": int(rng.integers(classes)) + 1 for a, b in possible[i][: counts[i]]}
        for i in possible
    }
    (root / f"{question}.json").write_text(json.dumps(labels))
    folder = root / f"{question}_split"
    folder.mkdir()
    for split, part in zip(
        ("train", "val", "test"), np.split(chosen, np.cumsum(sizes)[:-1]), strict=True
    ):
        (folder / f"{split}idx.json").write_text(json.dumps([str(i) for i in part]))


if __name__ == "__main__":
    main()
