"""How long a probe of many rows and classes takes, and on what: planted features, one block.

    OMP_NUM_THREADS=1 python tests/benchmarks/probe_classes.py --train 100000 --test 50000

Prints processor seconds (which do not depend on what else the machine does) by stage and the peak
of memory. Without `--val` five folds choose the strength, which takes five times the fits.
"""

import argparse
import cProfile
import pstats
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from degradation.cache import Key, PairEntry, PixelProtocol, Shard, open_store, write_pair
from degradation.encoders.encoder import EncoderInfo
from degradation.tasks.task import Rows, TaskSpec
from probes.run import probe_pair

STAGES = ("prepare", "minimise", "_duality_gap", "losses", "scores", "resample", "encode",
          "pooled", "make_plan", "cards")  # fmt: skip


def planted_cache(root: Path, sizes: dict[str, int], n_classes: int, width: int) -> None:
    """A pair whose features hold the classes, on one block, with a row a cluster."""
    rng = np.random.default_rng(0)
    names = tuple(f"class-{k}" for k in range(n_classes))
    spec = TaskSpec(
        name="planted", kind="classes", social=True, label_sets={"label": names}, roles=("box",),
        regions=("image",), metrics={"label": ("macro_f1", "accuracy", "macro_recall")},
        cluster="picture", source="a benchmark",
    )  # fmt: skip
    codes = 0.35 * rng.normal(size=(n_classes, width))
    mix = rng.normal(size=(width, width)) * np.exp(-4 * np.arange(width) / width)
    for split, n in sizes.items():
        labels = rng.integers(0, n_classes, n)
        ids = np.array([f"{split}-{i}" for i in range(n)], dtype=object)
        rows = Rows(
            ids=ids, pictures=ids[:, None], clusters=ids, labels={"label": labels},
            boxes={"box": rng.uniform(0, 1, (n, 1, 4)).astype(np.float32)},
            points=np.zeros((n, 0, 2), np.float32),
        )  # fmt: skip
        addresses = []
        for side in ("pre", "post"):
            x = ((codes[labels] + rng.normal(size=(n, width))) @ mix).astype(np.float32)
            key = Key(
                task=spec, split=split, rows_digest=rows.digest(), encoder=side, digest=side,
                protocol=PixelProtocol(size=64), blocks=(0,), regions=("image",), token_blocks=(),
                storage="float32", compute="float32", shard_rows=n,
            )  # fmt: skip
            info = EncoderInfo(
                name=side, digest=side, n_blocks=1, width=width, size=64, patch=8, n_prefix=0,
                mean=(0.0,) * 3, std=(1.0,) * 3,
            )  # fmt: skip
            with open_store(root, key) as store:
                hashes = np.zeros((n, 16), np.uint8)
                store.write(Shard(0, np.arange(n), hashes, {"pooled/image": x[:, None]}))
                store.finish(rows, info, (8, 8))
            addresses.append(key.address)
        write_pair(
            root,
            PairEntry(
                pair="planted", task=spec.name, split=split, pre=addresses[0], post=addresses[1],
                pictures=None, lineage="made up", source="a benchmark", block=None,
                protocol="paired-native-grid v1",
            ),
        )  # fmt: skip


def main() -> None:
    """Probe and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=int, default=100_000)
    parser.add_argument("--val", type=int, default=0)
    parser.add_argument("--test", type=int, default=50_000)
    parser.add_argument("--classes", type=int, default=34)
    parser.add_argument("--width", type=int, default=256)
    options = parser.parse_args()
    sizes = {"train": options.train, "val": options.val, "test": options.test}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "cache"
        planted_cache(root, {k: n for k, n in sizes.items() if n}, options.classes, options.width)
        profile = cProfile.Profile(time.process_time)
        profile.runcall(probe_pair, root, "planted", "planted", results=Path(folder) / "results")
    stats = pstats.Stats(profile)
    print(f"in all {stats.total_tt:8.1f} s of processor time")
    for (_, _, name), (_, calls, _, spent, _) in stats.stats.items():
        if name in STAGES and spent > 0.1:
            print(f"{name:15} {calls:4} calls {spent:8.1f} s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory {peak:.1f} GiB")


if __name__ == "__main__":
    main()
