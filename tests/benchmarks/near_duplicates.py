"""All near pairs among a million perceptual hashes: seconds, pairs and peak memory.

    python tests/benchmarks/near_duplicates.py
    python tests/benchmarks/near_duplicates.py --hashes 100000 --radius 4

Three sets: `photographs`, whose low frequencies are drawn with a natural spectrum; `portraits`,
which are half one common face and half their own, with bursts of frames that look alike, as from
videos; and `crowded`, in which 31 of the 64 bits never vary. First, on a smaller part of each, the
pairs are compared with those found by comparing all with all. Each set runs in a fresh process.
The goal is 300 s and 2 GB for a million hashes on two cores.
"""

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np

from degradation.audit.near_duplicates import near_pairs

CHECKED = 20_000


def hashes_of(coefficients):
    """64-bit hashes of low frequencies, shape (n, 64), as `perceptual_hash` makes them."""
    bits = coefficients > np.median(coefficients, axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(">u8")[:, 0].astype(np.uint64)


def spectra(rng, n):
    """Low frequencies that fall off with frequency, grey mean first."""
    u, v = np.divmod(np.arange(64), 8)
    drawn = rng.standard_normal((n, 64), dtype=np.float32) / (0.5 + np.hypot(u, v))
    drawn[:, 0] = 10
    return drawn.astype(np.float32)


def photographs(rng, n):
    return hashes_of(spectra(rng, n))


def portraits(rng, n):
    clips = n // 500
    own = spectra(rng, n)
    own[: clips * 250] = np.repeat(spectra(rng, clips), 250, axis=0)  # half of all are bursts
    own[: clips * 250] += 0.08 * spectra(rng, clips * 250)
    return hashes_of(own + spectra(rng, 1))


def crowded(rng, n):
    bits = rng.permutation(64)[:33]
    drawn = rng.integers(0, 2, (n, 33), dtype=np.uint64)
    return (drawn << bits.astype(np.uint64)).sum(axis=1, dtype=np.uint64)


SETS = {"photographs": photographs, "portraits": portraits, "crowded": crowded}


def all_with_all(hashes, radius):
    """Near pairs as numbers i * n + j with i < j, by comparing all with all."""
    n = len(hashes)
    found = []
    for i in range(n):
        near = np.flatnonzero(np.bitwise_count(hashes[i] ^ hashes[i + 1 :]) <= radius)
        found.append(i * n + near + i + 1)
    return np.concatenate(found)


def check(hashes, radius):
    """Whether `near_pairs` finds the same pairs, each once."""
    n = len(hashes)
    found = [np.minimum(i, j) * n + np.maximum(i, j) for i, j in near_pairs(hashes, radius)]
    found = np.sort(np.concatenate([np.zeros(0, dtype=np.int64), *found]))
    assert np.array_equal(found, all_with_all(hashes, radius))


def measure(name, n, radius):
    rng = np.random.default_rng(0)
    hashes = np.unique(SETS[name](rng, n))
    check(rng.choice(hashes, min(CHECKED, len(hashes)), replace=False), radius)
    start = time.perf_counter()
    pairs = sum(len(i) for i, _ in near_pairs(hashes, radius))
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"distinct": len(hashes), "pairs": pairs, "s": seconds, "MB": peak}))


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--hashes", type=int, default=1_000_000)
    parser.add_argument("--radius", type=int, default=4)
    parser.add_argument("--set", choices=SETS)
    options = parser.parse_args()
    if options.set:
        measure(options.set, options.hashes, options.radius)
        return
    for name in SETS:
        command = [sys.executable, __file__, "--set", name]
        command += ["--hashes", str(options.hashes), "--radius", str(options.radius)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        one = json.loads(done.stdout)
        print(
            f"{name:12} {one['distinct']:>9,} distinct hashes  {one['pairs']:>12,} near pairs  "
            f"{one['s']:7.1f} s  {one['MB']:6.0f} MB"
        )


if __name__ == "__main__":
    main()
