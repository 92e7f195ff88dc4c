"""How long HaGRIDv2 takes to read at its real size: 1,086,158 pictures, 3 splits, 34 targets.

    python tests/benchmarks/read_hagrid.py [--scale 1.0] [--folder DIR]

Annotations have every field of the real ones, landmarks and guesses of age, gender and race
included, 1.7 GB of JSON. The pictures are there too, as empty files: a million real directory
entries in 34 folders, of which the reader lists names and opens none. What was written a moment
ago is in the machine's cache; a cold disk adds the time to read that. The reader runs in a fresh
process, whose peak memory is its own.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from degradation.tasks.hagrid_files import SPLITS, TARGETS, TWO_HANDED

PICTURES = {"train": 819_994, "val": 99_000, "test": 165_000}
IDLE = {"train": 1_464, "val": 200, "test": 500}
SUBJECTS = {"train": 49_500, "val": 6_000, "test": 10_477}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--folder", type=Path, help="where to write, such as a disk to be measured")
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        return read(options.read)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        start = time.perf_counter()
        n, size = write(Path(folder), options.scale)
        wrote = time.perf_counter() - start
        print(f"wrote {n:,} pictures and {size / 1e9:.2f} GB of JSON in {wrote:.0f} s", flush=True)
        subprocess.run([sys.executable, __file__, "--read", folder], check=True)
    return None


def read(folder: Path) -> None:
    from degradation.tasks import get_task

    start = time.perf_counter()
    task = get_task("hagrid", data_root=folder)
    rows = {split: task.read(split) for split in task.splits}
    wall, cpu = time.perf_counter() - start, time.process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    counts = {split: (len(one), len(one.left_out)) for split, one in rows.items()}
    print(f"read {counts} in {wall:.1f} s, of which {cpu:.1f} s of processor, peak {peak:.2f} GiB")
    start = time.perf_counter()
    rows["train"].digest()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"digest of train {time.perf_counter() - start:.1f} s, peak {peak:.2f} GiB")


def write(root: Path, scale: float) -> tuple[int, int]:
    """Pictures and annotations; their number, and the bytes of JSON."""
    rng = np.random.default_rng(0)
    hands = [json.dumps(rng.random((21, 2)).tolist()) for _ in range(2000)]
    total = size = 0
    for target in TARGETS:
        folder = root / "hagrid_dataset" / target
        folder.mkdir(parents=True)
        for split in SPLITS:
            count = IDLE[split] if target == "no_gesture" else PICTURES[split] // 33
            keys = uuids(rng, max(1, int(count * scale)))
            for key in keys:
                os.close(os.open(f"{folder}/{key}.jpg", os.O_CREAT | os.O_WRONLY))
            file = root / "hagrid_annotations" / split / f"{target}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(annotations(rng, target, split, keys, hands))
            total, size = total + len(keys), size + file.stat().st_size
    return total, size


def uuids(rng: np.random.Generator, count: int) -> list[str]:
    texts = [value.hex() for value in np.frombuffer(rng.bytes(16 * count), "V16").tolist()]
    return [f"{t[:8]}-{t[8:12]}-{t[12:16]}-{t[16:20]}-{t[20:]}" for t in texts]


def annotations(
    rng: np.random.Generator, target: str, split: str, keys: list[str], hands: list[str]
) -> str:
    n = len(keys)
    boxes = np.round(rng.uniform(0.05, 0.45, (n, 2, 4)), 10).tolist()
    two = (target in TWO_HANDED) | (rng.random(n) < 0.21)
    subjects = rng.integers(0, SUBJECTS[split], n).tolist()
    landmarks = rng.integers(0, len(hands), (n, 2)).tolist()
    united = target in TWO_HANDED
    entries = []
    for i, key in enumerate(keys):
        count = 2 if two[i] else 1
        value = {
            "bboxes": boxes[i][:count],
            "labels": [target, target if united else "no_gesture"][:count],
            "united_bbox": [[0.0694444444, 0.2875, 0.7868055556, 0.2869791667]] if united else None,
            "united_label": [target] if united else None,
            "user_id": f"{split}{subjects[i]:0{32 - len(split)}x}",
            "hand_landmarks": "@",
            "meta": {"age": [24.41], "gender": ["female"], "race": ["White"]},
        }
        marks = ", ".join(hands[one] for one in landmarks[i][:count])
        entries.append(f'"{key}": {json.dumps(value)}'.replace('"@"', f"[{marks}]"))
    return "{" + ", ".join(entries) + "}"


if __name__ == "__main__":
    main()
