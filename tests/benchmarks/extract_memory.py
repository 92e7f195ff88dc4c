"""Memory of an extraction must not grow with the number of pictures.

    python tests/benchmarks/extract_memory.py --small 1000 --large 20000

Each extraction runs in a process of its own with a tiny tower; the peaks of their resident memory
are compared. The goal is a ratio of at most 1.05.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from extract_setup import PAIR, encoder, photographs, picture_task

from degradation.extract import extract


def one(count: int) -> None:
    """One extraction in this process; prints its peak in MB and its speed."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        names = photographs(Path(folder), 50, width=96, height=64)
        task = picture_task(Path(folder), names, count)
        report = extract(
            task, "all", PAIR, encoder("tiny"), encoder("tiny", seed=1),
            root=Path(folder) / "cache", workers=2, progress=False,
        )  # fmt: skip
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{peak:.1f} {report.images_per_second:.0f}")


def main() -> None:
    """Compare the two sizes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", type=int, default=1000)
    parser.add_argument("--large", type=int, default=20000)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        one(arguments.one)
        return
    peaks = []
    for count in (arguments.small, arguments.large):
        command = [sys.executable, __file__, "--one", str(count)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peak, speed = done.stdout.split()
        peaks.append(float(peak))
        print(f"{count:7d} pictures: peak {peak} MB at {speed} pictures/s", flush=True)
    print(f"large / small = {peaks[1] / peaks[0]:.3f}")


if __name__ == "__main__":
    main()
