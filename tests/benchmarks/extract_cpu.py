"""What extraction costs beside the encoder: the whole pipeline against the bare forward pass.

    python tests/benchmarks/extract_cpu.py b32 --pictures 256
    python tests/benchmarks/extract_cpu.py l14 --pictures 32 --batch 8

The pipeline decodes JPEG files of 640 x 480 pixels, squares and hashes them, encodes, pools all
blocks over two regions and writes the cache. The bare forward pass runs the same tower over
tensors that lie ready, normalised, in memory. Both in turn in one process; the ratio of the
medians is printed, of wall time and of the time of all threads, which other programs on the
machine disturb less. Both are of a pair of towers, which share the cost of a picture; with
`--sides 1` all of it falls on one. The goal is a ratio of at most 1.05.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from extract_setup import PAIR, SHAPES, encoder, photographs, picture_task

from degradation.encoders.frozen import normalise
from degradation.extract import extract
from degradation.pixels import to_rgb
from degradation.views import square


def preloaded(task, encoders, batch):
    """Normalised pictures in batches, for each encoder."""
    size = encoders[0].info.size
    rows = task.read("all")
    pixels = [
        torch.from_numpy(square(to_rgb(task.open(name)), size)).permute(2, 0, 1)
        for name in rows.pictures[:, 0]
    ]
    batches = torch.stack(pixels).contiguous().split(batch)
    return [
        [normalise(one, encoder.mean, encoder.std).contiguous() for one in batches]
        for encoder in encoders
    ]


def timed(work):
    """Wall seconds and seconds of all threads that a call takes, and what it returns."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return time.perf_counter() - wall, time.process_time() - cpu, result


@torch.inference_mode()
def bare(encoders, batches):
    """The forward passes alone, all blocks returned."""
    for frozen, inputs in zip(encoders, batches, strict=True):
        for one in inputs:
            frozen.tower(one, range(frozen.info.n_blocks))


def pipeline(task, encoders, **options):
    """An extraction into an empty cache; its report."""
    with tempfile.TemporaryDirectory() as root:
        return extract(
            task, "all", PAIR, encoders[0], encoders[-1], root=Path(root), progress=False, **options
        )


def main():
    """Time both in turn and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tower", choices=SHAPES)
    parser.add_argument("--pictures", type=int, default=128)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--sides", type=int, choices=(1, 2), default=2)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    encoders = [encoder(arguments.tower, seed) for seed in range(arguments.sides)]
    with tempfile.TemporaryDirectory() as folder:
        names = photographs(Path(folder), min(64, arguments.pictures))
        task = picture_task(Path(folder), names, arguments.pictures)
        batches = preloaded(task, encoders, arguments.batch)
        options = {"batch_size": arguments.batch, "workers": arguments.workers}
        bare(encoders, [inputs[:1] for inputs in batches])  # warm up
        times = []
        for _ in range(arguments.rounds):
            alone, alone_cpu, _ = timed(lambda: bare(encoders, batches))
            whole, whole_cpu, report = timed(lambda: pipeline(task, encoders, **options))
            times.append((alone, whole, alone_cpu, whole_cpu))
            print(
                f"bare {alone:7.2f} s   pipeline {whole:7.2f} s (waited for pictures "
                f"{report.read_seconds:.2f} s, fed the encoders {report.infer_seconds:.2f} s, "
                f"beside that wrote {report.write_seconds:.2f} s)",
                flush=True,
            )
    alone, whole, alone_cpu, whole_cpu = map(statistics.median, zip(*times, strict=True))
    print(
        f"{arguments.tower}, {arguments.pictures} pictures, {arguments.sides} sides, "
        f"{torch.get_num_threads()} threads: pipeline / bare forward = {whole / alone:.3f} in wall "
        f"time, {whole_cpu / alone_cpu:.3f} in time of all threads"
    )


if __name__ == "__main__":
    main()
