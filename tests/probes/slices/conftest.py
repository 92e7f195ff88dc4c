"""A world with attributes and token maps, whose loss lies in a known slice and place."""

from dataclasses import replace

import numpy as np
import pytest

from degradation.cache import Key, PairEntry, PixelProtocol, Shard, open_store, write_pair
from degradation.encoders.encoder import EncoderInfo

GRID = (4, 4)
MOODS = ("sad", "glad", "mad")
D = 6


def planted_world(spec, rows, *, sizes, seed=0, dim_loss=1.0):
    """Moods read from the features; after, those of dim pictures alone are lost."""
    rng = np.random.default_rng(seed)
    task = spec(label_sets={"mood": MOODS}, metrics={"mood": ("accuracy", "macro_f1")})
    code = 3 * rng.normal(size=(3, D))
    splits = {}
    for split, n in sizes.items():
        labels = {"mood": rng.integers(0, 3, n)}
        light = np.array(["bright", "dim", "warm"], dtype=object)[rng.integers(0, 3, n)]
        light[::11] = ""
        attributes = {"light": light, "hat": np.array(["no"] * n, dtype=object)}
        attributes["hat"][:4] = "yes"
        one = replace(rows(split, labels, rng=rng), attributes=attributes)
        pre = (code[labels["mood"]] + rng.normal(size=(n, D)))[:, None]
        post = pre.copy()
        dim = light == "dim"
        post[dim] = (1 - dim_loss) * pre[dim] + dim_loss * rng.normal(size=(dim.sum(), 1, D))
        splits[split] = (one, {"face": pre}, {"face": post}, None)
    return task, splits


@pytest.fixture
def sliced_world(spec, rows):
    return planted_world(spec, rows, sizes={"train": 150, "val": 60, "test": 240})


def token_world(spec, rows, *, sizes, seed=0):
    """Each token inside the face says the mood, faintly those outside; after, the faces do not.

    By split: rows, and the token maps before and after, shape (n, t, d).
    """
    rng = np.random.default_rng(seed)
    task = spec(label_sets={"mood": MOODS}, metrics={"mood": ("accuracy",)})
    code = rng.normal(size=(3, D))
    y, x = np.divmod(np.arange(16), 4)
    centres = (np.stack([x, y], axis=1) + 0.5) / 4
    splits = {}
    for split, n in sizes.items():
        labels = {"mood": rng.integers(0, 3, n)}
        one = rows(split, labels, rng=rng)
        box = one.boxes["face"]  # (n, 1, 4)
        inside = ((box[..., :2] <= centres) & (centres <= box[..., 2:])).all(axis=2)
        said = code[labels["mood"]][:, None]
        noise = rng.normal(size=(n, 16, D))
        pre = np.where(inside, 4.0, 1.0)[:, :, None] * said + noise
        post = np.where(inside, 0.0, 1.0)[:, :, None] * said + noise
        splits[split] = (one, pre, post)
    return task, splits


def write_tokens(root, task, splits, *, pair="planted", token_block=0, shard_rows=64):
    """The pair of a token world in a cache, pooled over the picture and the face alike."""
    for split, (one, pre, post) in splits.items():
        addresses = []
        for side, tokens in (("pre", pre), ("post", post)):
            name = f"{pair}:{side}"
            key = Key(
                task=task, split=split, rows_digest=one.digest(), encoder=name,
                digest=f"digest of {name}", protocol=PixelProtocol(size=32), blocks=(0,),
                regions=("face",), token_blocks=() if token_block is None else (token_block,),
                storage="float32", compute="float32", shard_rows=shard_rows,
            )  # fmt: skip
            with open_store(root, key) as store:
                for number, start in enumerate(range(0, len(one), shard_rows)):
                    index = np.arange(start, min(len(one), start + shard_rows))
                    arrays = {"pooled/face": tokens[index].mean(axis=1)[:, None]}
                    if token_block is not None:
                        arrays[f"tokens/{token_block}"] = tokens[index]
                    arrays = {name: x.astype(np.float32) for name, x in arrays.items()}
                    store.write(Shard(number, index, np.zeros((len(index), 16), np.uint8), arrays))
                store.finish(
                    one,
                    EncoderInfo(
                        name=name, digest=key.digest, n_blocks=1, width=D, size=32, patch=8,
                        n_prefix=0, mean=(0.0,) * 3, std=(1.0,) * 3,
                    ),
                    GRID,
                )  # fmt: skip
            addresses.append(key.address)
        write_pair(
            root,
            PairEntry(
                pair=pair, task=task.name, split=split, pre=addresses[0], post=addresses[1],
                pictures=None, lineage="made up", source="a test", block=None,
                protocol="paired-native-grid v1",
            ),
        )  # fmt: skip


@pytest.fixture
def token_cache(tmp_path, spec, rows):
    """A cache with token maps, and the task and splits behind it."""
    task, splits = token_world(spec, rows, sizes={"train": 120, "val": 50, "test": 100})
    root = tmp_path / "cache"
    write_tokens(root, task, splits)
    return root, task, splits
