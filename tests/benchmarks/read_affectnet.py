"""How long AffectNet takes to read at its real sizes, in the two shapes of its owners.

    python tests/benchmarks/read_affectnet.py [--scale 1.0] [--folder DIR]

2017: a list of 414,800 faces with landmarks, and as many files, each a small JPEG, whose heads
are read for their sizes. 2021: 287,651 label files, each opened, and as many empty files as
pictures, which are listed. Everything was written a moment ago, so it is in the machine's cache; a
cold disk adds a seek a file. The reader runs in a fresh process.
"""

import argparse
import io
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from degradation.tasks.affectnet_shapes import TRAIN_COUNTS

HEADER = (
    "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,"
    "valence,arousal"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--folder", type=Path, help="where to write, such as a disk to be measured")
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        return read(options.read)
    for write in (write_2017, write_2021):
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            write(Path(folder), options.scale)
            subprocess.run([sys.executable, __file__, "--read", folder], check=True)
    return None


def read(folder: Path) -> None:
    from degradation.tasks import get_task

    start = time.perf_counter()
    task = get_task("affectnet", data_root=folder)
    rows = task.read("train")
    wall, cpu = time.perf_counter() - start, time.process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{task.spec.source.split(';')[0]}: {len(rows):,} faces, {len(rows.left_out):,} left out, "
        f"in {wall:.1f} s, of which {cpu:.1f} s of processor, peak {peak:.2f} GiB"
    )


def write_2017(root: Path, scale: float) -> None:
    rng = np.random.default_rng(0)
    stream = io.BytesIO()
    Image.new("RGB", (640, 480)).resize((64, 48)).save(stream, "JPEG")
    landmarks = [";".join(f"{v:.2f}" for v in rng.uniform(0, 60, 136)) for _ in range(500)]
    labels = rng.integers(0, 11, int(414_800 * scale)).tolist()
    with (root / "training.csv").open("w") as lines:
        lines.write(HEADER + "\n")
        for number, label in enumerate(labels):
            path = f"{number % 1000}/{number:056x}.jpg"
            file = root / "Manually_Annotated_Images" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(stream.getvalue())
            lines.write(f"{path},4,4,40,40,{landmarks[number % 500]},{label},0.1,-0.1\n")


def write_2021(root: Path, scale: float) -> None:
    images, labels = root / "train_set/images", root / "train_set/annotations"
    images.mkdir(parents=True)
    labels.mkdir()
    values = []
    for label in range(8):
        stream = io.BytesIO()
        np.save(stream, np.array(str(label)))
        values.append(stream.getvalue())
    for number in range(int(sum(TRAIN_COUNTS) * scale)):
        (images / f"{number}.jpg").touch()
        (labels / f"{number}_exp.npy").write_bytes(values[number % 8])


if __name__ == "__main__":
    main()
