"""Pictures per second on a GPU, and the share of its measured peak that extraction reaches.

    python tests/benchmarks/extract_gpu.py --compile
    python tests/benchmarks/extract_gpu.py --device cpu --towers tiny --batch 8 --seconds 1

The peak is the best bf16 product of two 8192 x 8192 matrices on the same device in the same run.
A tower with random weights of the real shape takes uint8 pictures from host memory and gives
pooled features of all blocks on the host, as extraction does, in bfloat16 autocast. Share =
pictures per second x arithmetic of one picture / peak; the goal is 60 %. The last column is how
many pictures per second the threads of this machine can decode from JPEG files of 640 x 480 and
square to the tower's side: it should be more than the tower takes.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from device_peak import matmul_peak
from extract_setup import SHAPES, encoder, gflop, photographs, picture_task

from degradation.encode import launcher, upload
from degradation.geometry import Geometry
from degradation.pipeline import in_order, read_ahead
from degradation.ranks import ALONE
from degradation.reading import Reader

TOWERS = ("clip-l14-336", "dfn-h14-378", "qwen2-vl-378", "qwen2-vl-448", "internvit-448")


def tower_rate(name, device, batch, seconds, compiled):
    """Pictures per second from host memory to host memory, both queues as in extraction."""
    frozen = encoder(name, device=device)
    size, blocks = frozen.info.size, range(frozen.info.n_blocks)
    launch = launcher(
        frozen, blocks=blocks, token_blocks=(), device=device, compute_dtype=torch.bfloat16,
        compile_for=batch if compiled else None,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    pictures = list(rng.integers(0, 256, (batch, 1, size, size, 3), dtype=np.uint8))
    rows = picture_task(Path(), ["none"], batch).read("all")
    for _ in range(3):  # compiles, chooses kernels, fills the pools of memory
        launch(upload(pictures, device), rows).collect()
    done, started = 0, time.perf_counter()
    with in_order(2) as hand_over:
        while time.perf_counter() - started < seconds:
            hand_over(launch(upload(pictures, device), rows).collect)
            done += batch
    return done / (time.perf_counter() - started)


def decode_rate(size, count, workers):
    """Pictures per second that threads read from JPEG files."""
    with tempfile.TemporaryDirectory() as folder:
        names = photographs(Path(folder), min(count, 64))
        task = picture_task(Path(folder), names, count)
        reader = Reader(task, task.read("all"), Geometry(size=size))
        started = time.perf_counter()
        for sample in read_ahead(reader, range(count), workers, window=4 * workers):
            assert sample.pixels is not None
        return count / (time.perf_counter() - started)


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--towers", nargs="+", choices=SHAPES, default=TOWERS)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--workers", type=int, default=ALONE.cores)
    parser.add_argument("--decode", type=int, default=400, help="pictures decoded per side")
    arguments = parser.parse_args()
    cuda = arguments.device.startswith("cuda")
    if cuda and not torch.cuda.is_available():
        print("Skipped: there is no CUDA device. --device cpu --towers tiny tries the script.")
        return
    peak = matmul_peak(arguments.device)
    name = torch.cuda.get_device_name(arguments.device) if cuda else "CPU"
    print(f"{name}, torch {torch.__version__}, bf16 matmul peak {peak / 1e12:.2f} TFLOP/s")
    print(
        f"batch {arguments.batch}, compiled: {arguments.compile}, decoding with "
        f"{arguments.workers} threads\n"
    )
    print("| tower | GFLOP/picture | pictures/s | share of peak | decoded/s |")
    print("|---|---|---|---|---|")
    for tower in arguments.towers:
        rate = tower_rate(
            tower, arguments.device, arguments.batch, arguments.seconds, arguments.compile
        )
        decoded = decode_rate(SHAPES[tower]["size"], arguments.decode, arguments.workers)
        share = rate * gflop(tower) * 1e9 / peak
        print(f"| {tower} | {gflop(tower):.1f} | {rate:.0f} | {share:.1%} | {decoded:.0f} |")


if __name__ == "__main__":
    main()
