"""What the benchmarks of extraction share: towers of real shapes with random weights, and pictures.

Nothing here is read from a checkpoint: speed and memory depend on shapes only.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from degradation.encoders.encoder import EncoderInfo
from degradation.encoders.frozen import FrozenEncoder
from degradation.encoders.pair import Pair
from degradation.encoders.vit import Vit, VitConfig
from degradation.pixels import open_picture
from degradation.tasks.task import Rows, Task, TaskSpec

CLIP = {"activation": "quick_gelu", "pre_norm": True, "patch_bias": False, "norm_eps": 1e-5}
QWEN = {"activation": "quick_gelu", "cls": False, "patch_bias": False, "learned_positions": False}
L14 = {"patch": 14, "width": 1024, "depth": 24, "heads": 16, "mlp": 4096}
H14 = {"patch": 14, "width": 1280, "depth": 32, "heads": 16, "mlp": 5120}

SHAPES = {
    "tiny": {"size": 32, "patch": 8, "width": 64, "depth": 2, "heads": 2, "mlp": 128},
    "tiny-rope": QWEN | {
        "size": 56, "patch": 14, "width": 64, "depth": 2, "heads": 4, "mlp": 256, "rope": True,
    },
    "b32": CLIP | {"size": 224, "patch": 32, "width": 768, "depth": 12, "heads": 12, "mlp": 3072},
    "l14": CLIP | L14 | {"size": 224},
    "clip-l14-336": CLIP | L14 | {"size": 336},
    "dfn-h14-378": CLIP | H14 | {"size": 378},
    "qwen2-vl-378": QWEN | H14 | {"size": 378, "rope": True},
    "qwen2-vl-448": QWEN | H14 | {"size": 448, "rope": True},
    "internvit-448": L14 | {"size": 448, "layer_scale": True},
}  # fmt: skip
"""Configurations by name, those of the families with their real shapes."""


def tower(name: str, seed: int = 0, device: str = "cpu") -> Vit:
    """A tower with random weights."""
    with torch.device(device):
        vit = Vit(VitConfig(**SHAPES[name])).eval().requires_grad_(False)
    return vit.initialise(generator=torch.Generator(device).manual_seed(seed))


def encoder(name: str, seed: int = 0, device: str = "cpu") -> FrozenEncoder:
    """The tower as an encoder, without the time that a digest of its weights would take."""
    vit = tower(name, seed, device)
    config = vit.config
    info = EncoderInfo(
        name=f"random:{name}-{seed}",
        digest=f"random {name} {seed}",
        n_blocks=config.depth,
        width=config.width,
        size=config.size,
        patch=config.patch,
        n_prefix=config.n_prefix,
        mean=config.mean,
        std=config.std,
    )
    return FrozenEncoder(vit, info)


def gflop(name: str, blocks: int | None = None) -> float:
    """Arithmetic of one picture in 10^9 operations, a multiply-add counted as two.

    Projections and attention of the blocks and the patch projection; norms and activations are
    left out, as in every published figure.
    """
    config = VitConfig(**SHAPES[name])
    tokens, width = config.grid**2 + config.n_prefix, config.width
    block = 2 * tokens * (4 * width**2 + 2 * width * config.mlp) + 4 * tokens**2 * width
    patches = 2 * config.grid**2 * width * 3 * config.patch**2
    return ((config.depth if blocks is None else blocks) * block + patches) / 1e9


PAIR = Pair("benchmark", "pre", "post", "random weights", "tests/benchmarks")


def photographs(folder: Path, count: int, width: int = 640, height: int = 480) -> list[str]:
    """Names of JPEG files, written into `folder`: smooth shapes with some grain, quality 90."""
    rng = np.random.default_rng(0)
    for i in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.int16)
        grainy = smooth + rng.integers(-12, 13, smooth.shape, dtype=np.int16)
        picture = Image.fromarray(np.clip(grainy, 0, 255).astype(np.uint8))
        picture.save(folder / f"{i}.jpg", quality=90)
    return [f"{i}.jpg" for i in range(count)]


def picture_task(folder: Path, names: list[str], count: int) -> Task:
    """A task of `count` rows whose pictures are the files `names`, over and over."""
    references = np.array([names[i % len(names)] for i in range(count)], dtype=object)
    ids = np.array([f"picture-{i:07d}" for i in range(count)], dtype=object)
    spec = TaskSpec(
        name="benchmark",
        kind="classes",
        social=False,
        label_sets={"parity": ("even", "odd")},
        roles=("face",),
        regions=("face",),
        metrics={"parity": ("accuracy",)},
        cluster="picture",
        source="tests/benchmarks",
    )
    rows = Rows(
        ids=ids,
        pictures=references[:, None],
        boxes={"face": np.tile(np.array([0.2, 0.1, 0.7, 0.8], dtype=np.float32), (count, 1, 1))},
        labels={"parity": np.arange(count) % 2},
        points=np.zeros((count, 0, 2), dtype=np.float32),
        clusters=ids,
    )
    return Task(spec, ("all",), lambda split: rows, lambda name: open_picture(folder / name))
