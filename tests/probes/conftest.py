"""Caches written by the real store, from arrays instead of pictures."""

import numpy as np
import pytest

from degradation.cache import Key, PairEntry, PixelProtocol, Shard, open_store, write_pair
from degradation.encoders.encoder import EncoderInfo
from degradation.tasks.task import Rows, TaskSpec
from probes.run import probe_pair


def info(name, width, n_blocks, digest):
    return EncoderInfo(
        name=name, digest=digest, n_blocks=n_blocks, width=width, size=64, patch=8, n_prefix=0,
        mean=(0.0,) * 3, std=(1.0,) * 3,
    )  # fmt: skip


def write_features(root, spec, split, rows, name, arrays, *, grid):
    """`arrays`: region to (n, l, d); returns the address."""
    _, n_blocks, width = next(iter(arrays.values())).shape
    key = Key(
        task=spec, split=split, rows_digest=rows.digest(), encoder=name, digest=f"digest of {name}",
        protocol=PixelProtocol(size=64), blocks=tuple(range(n_blocks)), regions=tuple(arrays),
        token_blocks=(), storage="float32", compute="float32", shard_rows=256,
    )  # fmt: skip
    with open_store(root, key) as store:
        for number in range(-(-len(rows) // 256)):
            index = np.arange(number * 256, min(len(rows), number * 256 + 256))
            hashes = np.zeros((len(index), 16), np.uint8)
            pooled = {f"pooled/{r}": x[index].astype(np.float32) for r, x in arrays.items()}
            store.write(Shard(number, index, hashes, pooled))
        store.finish(rows, info(name, width, n_blocks, key.digest), grid)
    return key.address


@pytest.fixture
def write_world(tmp_path):
    """Writes a pair on a task into a cache and returns its root.

    `splits`: split to (rows, pre, post, pictures); features are region to (n, l, d), and
    pictures may be None. `random`: split to the features of an untrained tower, if there are any.
    """

    def write(spec, splits, *, pair="planted", block=None, grid=(8, 8), random=None):
        root = tmp_path / "cache"
        for split, (rows, pre, post, pictures) in splits.items():
            addresses = [
                write_features(root, spec, split, rows, f"{pair}:{side}", arrays, grid=grid)
                for side, arrays in (("pre", pre), ("post", post))
            ]
            plain = None
            if pictures is not None:
                plain = write_features(root, spec, split, rows, "pictures", pictures, grid=(0, 0))
            untrained = None
            if random is not None:
                untrained = write_features(
                    root, spec, split, rows, f"{pair}:random", random[split], grid=grid
                )
            write_pair(
                root,
                PairEntry(
                    pair=pair, task=spec.name, split=split, pre=addresses[0], post=addresses[1],
                    pictures=plain, lineage="made up", source="a test", block=block,
                    protocol="paired-native-grid v1", random=untrained,
                ),
            )  # fmt: skip
        return root

    return write


def make_rows(split, labels, *, rng, roles=("face",), points=None, per_cluster=2, frames=1):
    n = len(next(iter(labels.values()))) if labels else len(points)
    boxes = {}
    for role in roles:
        corner = rng.uniform(0, 0.6, (n, frames, 2))
        boxes[role] = np.concatenate(
            [corner, corner + rng.uniform(0.1, 0.3, (n, frames, 2))], axis=2
        ).astype(np.float32)
    return Rows(
        ids=np.array([f"{split}-{i}" for i in range(n)], dtype=object),
        pictures=np.array([[f"{split}-{i}.png"] * frames for i in range(n)], dtype=object),
        boxes=boxes,
        labels={name: np.asarray(one, np.int64) for name, one in labels.items()},
        points=np.zeros((n, 0, 2), np.float32) if points is None else points.astype(np.float32),
        clusters=np.array([f"{split}-c{i // per_cluster}" for i in range(n)], dtype=object),
        sizes=np.full((0 if points is None else n, 2), (64, 48)),
    )


def make_spec(
    name="made-up", *, label_sets, metrics, kind="classes", roles=("face",), regions=None, **more
):
    return TaskSpec(
        name=name, kind=kind, social=True, label_sets=label_sets, roles=roles,
        regions=roles if regions is None else regions, metrics=metrics, cluster="picture",
        source="a test", **more,
    )  # fmt: skip


@pytest.fixture
def spec():
    return make_spec


@pytest.fixture
def rows():
    return make_rows


@pytest.fixture
def probe(write_world, tmp_path):
    def run(
        task, splits, *, draws=400, pair="planted", block=None, random=None, beside=False, **options
    ):
        """`beside`: whether to read the tuning curve and refits too, which takes most time."""
        root = write_world(task, splits, pair=pair, block=block, random=random)
        if not beside:
            options = {"curve": False, "refits": 0} | options
        return probe_pair(
            root, task.name, pair, results=tmp_path / "results", draws=draws, **options
        )

    return run
