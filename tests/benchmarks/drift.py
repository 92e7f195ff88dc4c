"""Unbiased linear CKA: one stream of feature sums against the n x n formula, side by side.

    OMP_NUM_THREADS=2 python tests/benchmarks/drift.py
    python tests/benchmarks/drift.py --rows 4000 --width 256
    python tests/benchmarks/drift.py --map 66 --rows 2000

Each way runs in a process of its own on the same float32 features, made chunk by chunk from a seed
for the stream and put together for the formula, which needs them whole. Prints processor seconds,
the peak of memory beyond that of the imports, and both ratios; the values must agree to 1e-10. The
formula at 20,000 rows takes 7 GB. With `--map`, instead, the time and memory of the map between
that many blocks.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np

from probes.drift.cka import cka_of_sums
from probes.drift.maps import cka_map
from probes.drift.sums import stream_sums

CHUNK = 2000
WAYS = ("stream", "formula")


def chunks(rows: int, width: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Features of both sides with a common part and a large mean."""
    mix = np.random.default_rng(0).standard_normal((width, width), dtype=np.float32)
    for start in range(0, rows, CHUNK):
        rng = np.random.default_rng(start + 1)
        x = rng.standard_normal((min(CHUNK, rows - start), width), dtype=np.float32)
        noise = rng.standard_normal(x.shape, dtype=np.float32)
        yield x + 100, x @ mix / width**0.5 + noise - 100


def formula(x: np.ndarray, y: np.ndarray) -> float:
    """Equation 5 of Song et al. 2012 on n x n kernels, with as few copies as it can do with."""
    kernels = []
    for side in (x, y):
        centred = side.astype(np.float64)
        centred -= centred.mean(axis=0)
        kernel = centred @ centred.T
        np.fill_diagonal(kernel, 0.0)
        kernels.append(kernel)
    n = len(x)

    def hsic(k: np.ndarray, m: np.ndarray) -> float:
        rows = k.sum(axis=0), m.sum(axis=0)
        total = rows[0].sum() * rows[1].sum() / ((n - 1) * (n - 2))
        return np.vdot(k, m) + total - 2 / (n - 2) * rows[0] @ rows[1]

    k, m = kernels
    return float(hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m)))


def peak() -> float:
    """Peak of resident memory so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(way: str, rows: int, width: int) -> None:
    """One way in this process; prints value, seconds and memory as JSON."""
    before, start = peak(), time.process_time()
    if way == "stream":
        value = cka_of_sums(stream_sums(chunks(rows, width)))
    else:
        x, y = (np.concatenate(side) for side in zip(*chunks(rows, width), strict=True))
        value = formula(x, y)
    seconds = time.process_time() - start
    print(json.dumps({"value": value, "s": seconds, "MB": peak() - before}))


def measure_map(blocks: int, rows: int, width: int) -> None:
    """The map between blocks, each a noisy step from the one before."""
    rng = np.random.default_rng(0)
    features = [rng.standard_normal((rows, width), dtype=np.float32)]
    for _ in range(blocks - 1):
        noise = rng.standard_normal((rows, width), dtype=np.float32)
        features.append(0.9 * features[-1] + 0.4 * noise)
    before, start = peak(), time.process_time()
    values, _, _ = cka_map(features, np.arange(rows) % 20)
    seconds = time.process_time() - start
    print(
        f"map of {blocks} blocks, {rows:,} rows of width {width}: {seconds:.1f} s, "
        f"{peak() - before:.0f} MB beside features of {rows * width * blocks / 2**18:.0f} MB; "
        f"neighbouring blocks {values[0, 1]:.3f}, ends {values[0, -1]:.3f}"
    )


def main() -> None:
    """Compare both ways."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--map", type=int, help="blocks of a map")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        measure(options.way, options.rows, options.width)
        return
    if options.map:
        measure_map(options.map, options.rows, options.width)
        return
    found = {}
    for way in WAYS:
        command = [sys.executable, __file__, "--way", way]
        command += ["--rows", str(options.rows), "--width", str(options.width)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found[way] = one = json.loads(done.stdout)
        print(
            f"{way:8} CKA {one['value']:.12f}  {one['s']:8.2f} s  {one['MB']:8.0f} MB", flush=True
        )
    stream, other = (found[way] for way in WAYS)
    assert abs(stream["value"] - other["value"]) < 1e-10
    print(f"formula / stream: {other['s'] / stream['s']:.1f} x the time, "
          f"{other['MB'] / stream['MB']:.1f} x the memory")  # fmt: skip


if __name__ == "__main__":
    main()
