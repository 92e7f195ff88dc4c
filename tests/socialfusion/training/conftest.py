"""A small cache with token maps whose tokens tell the answers, and runs on it."""

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from degradation.cache import Key, PairEntry, PixelProtocol, Shard, open_store, write_pair
from degradation.encoders.encoder import EncoderInfo
from degradation.tasks.task import Rows, TaskSpec
from socialfusion.records import FusionRecord, FusionSettings
from socialfusion.run import Machine, train_socialfusion

GRID, WIDTH, SHARD = (2, 2), 6, 8
COUNTS = {"train": 20, "val": 8, "test": 12}
LOOKING = TaskSpec(
    name="scenes-looking",
    kind="track",
    social=True,
    label_sets={"looking": ("elsewhere", "viewer")},
    roles=("face",),
    regions=("face",),
    metrics={"looking": ("accuracy", "binary_mean_average_precision")},
    cluster="clip",
    source="made up",
)
GAZE = TaskSpec(
    name="scenes-gaze",
    kind="gaze",
    social=True,
    label_sets={},
    roles=("head",),
    regions=("head",),
    metrics={"gaze": ("average_l2_error", "auc_score")},
    cluster="picture",
    source="made up",
)
FRAMES = {"scenes-looking": 2, "scenes-gaze": 1}


def rows_of(spec: TaskSpec, split: str, n: int) -> Rows:
    rng = np.random.default_rng([n, len(spec.name)])
    frames = FRAMES[spec.name]
    corner = rng.uniform(0, 0.6, (n, frames, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0.1, 0.3, (n, frames, 2))], axis=2)
    gaze = spec.kind == "gaze"
    return Rows(
        ids=np.array([f"{split}-{i}" for i in range(n)], dtype=object),
        pictures=np.array([[f"{split}-{i}-{f}" for f in range(frames)] for i in range(n)], object),
        boxes={spec.roles[0]: boxes.astype(np.float32)},
        labels={name: rng.integers(0, 2, n) for name in spec.label_sets},
        points=rng.uniform(size=(n, 1 if gaze else 0, 2)).astype(np.float32),
        clusters=np.array([f"{split}-c{i // 2}" for i in range(n)], dtype=object),
        sizes=np.full((n if gaze else 0, 2), (32, 24)),
    )


def tokens_of(rows: Rows, frames: int, *, seed: int) -> np.ndarray:
    """Noise, and in the first number of every token the answer."""
    rng = np.random.default_rng(seed)
    tokens = rng.normal(size=(len(rows), frames * GRID[0] * GRID[1], WIDTH)).astype(np.float32)
    for labels in rows.labels.values():
        tokens[..., 0] = 4 * (labels[:, None] - 0.5)
    return tokens


def write_tokens(
    root: Path, spec: TaskSpec, split: str, rows: Rows, side: str, *, seed: int, digest: str = ""
) -> str:
    """The features of one side in the cache; returns their address."""
    frames = FRAMES[spec.name]
    tokens = tokens_of(rows, frames, seed=seed)
    key = Key(
        task=spec, split=split, rows_digest=rows.digest(), encoder=f"tiny:{side}",
        digest=digest or f"digest of {side}", protocol=PixelProtocol(size=16), blocks=(1,),
        regions=("image", spec.roles[0]), token_blocks=(1,), storage="float16", compute="float32",
        shard_rows=SHARD,
    )  # fmt: skip
    pooled = tokens.mean(axis=1, keepdims=True)
    arrays = {"pooled/image": pooled, f"pooled/{spec.roles[0]}": pooled, "tokens/1": tokens}
    with open_store(root, key) as store:
        for number in range(-(-len(rows) // SHARD)):
            part = np.arange(number * SHARD, min(len(rows), (number + 1) * SHARD))
            hashes = np.zeros((len(part), 16), np.uint8)
            store.write(Shard(number, part, hashes, {k: v[part] for k, v in arrays.items()}))
        info = EncoderInfo(f"tiny:{side}", key.digest, 2, WIDTH, 16, 8, 0, (0.0,) * 3, (1.0,) * 3)
        store.finish(rows, info, GRID)
    return key.address


def write_cache(root: Path, *specs: TaskSpec, counts: dict[str, int], **more: str) -> Path:
    for spec in specs:
        for split, n in counts.items():
            rows = rows_of(spec, split, n)
            pre, post = (
                write_tokens(root, spec, split, rows, side, seed=seed, **more)
                for seed, side in enumerate(("pre", "post"))
            )
            write_pair(
                root,
                PairEntry(
                    pair="tiny", task=spec.name, split=split, pre=pre, post=post, pictures=None,
                    lineage="made up", source="a test", block=1, protocol="paired-native-grid v1",
                ),
            )  # fmt: skip
    return root


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both tasks, written once; no test changes it."""
    return write_cache(tmp_path_factory.mktemp("fusion") / "cache", LOOKING, GAZE, counts=COUNTS)


@pytest.fixture(scope="session")
def cache_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function that gives the same cache with features of an encoder of that digest."""

    @functools.cache
    def write(digest: str) -> Path:
        root = tmp_path_factory.mktemp("fusion") / "cache"
        return write_cache(root, LOOKING, GAZE, counts=COUNTS, digest=digest)

    return write


@pytest.fixture
def world(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes the cache once more, with something changed."""

    def write(*, digest: str = "", **counts: int) -> Path:
        root = tmp_path / f"cache {digest} {counts}"
        return write_cache(root, LOOKING, GAZE, counts=COUNTS | counts, digest=digest)

    return write


@pytest.fixture
def settings() -> FusionSettings:
    return FusionSettings(
        encoder="tiny:pre",
        tasks=("scenes-looking", "scenes-gaze"),
        language_model="tiny",
        steps=4,
        batch_size=4,
        learning_rate=5e-3,
        connector_width=12,
        lora_rank=2,
    )


@pytest.fixture
def train(cache: Path, tmp_path: Path, settings: FusionSettings) -> Callable[..., FusionRecord]:
    """Trains on the made-up cache, into `tmp_path`."""

    def run(
        name: str = "run", *, asked=None, resume=False, generate=False, root=None, save_every=0,
        memory=None, **changes: object,
    ) -> FusionRecord:  # fmt: skip
        return train_socialfusion(
            name,
            settings.model_copy(update=changes),
            cache=root or cache,
            results=tmp_path,
            machine=Machine(quiet=True, save_every=save_every, memory=memory),
            resume=resume,
            generate=generate,
            asked=asked,
        )

    return run
