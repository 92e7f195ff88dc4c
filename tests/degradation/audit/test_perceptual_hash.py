"""pHash against its formula, written out, and against scipy; copies are near, others are not."""

import io
import math
import warnings

import numpy as np
import pytest
from PIL import Image, ImageOps
from scipy.fft import dctn
from skimage import data

from degradation.audit.perceptual_hash import grey, is_informative, perceptual_hash
from degradation.pixels import decode_picture


def direct_hash(values: np.ndarray) -> int:
    """The formula of the module, term by term."""
    low = []
    for u in range(8):
        for v in range(8):
            total = sum(
                float(values[y, x])
                * math.cos(math.pi * (2 * y + 1) * u / 64)
                * math.cos(math.pi * (2 * x + 1) * v / 64)
                for y in range(32)
                for x in range(32)
            )
            scale = math.prod(math.sqrt((1 if k == 0 else 2) / 32) for k in (u, v))
            low.append(round(total * scale, 6))
    ordered = sorted(low)
    middle = (ordered[31] + ordered[32]) / 2
    return sum((c > middle) << (63 - k) for k, c in enumerate(low))


@pytest.fixture(scope="module")
def photographs() -> list[Image.Image]:
    names = ("astronaut", "chelsea", "coffee", "camera", "coins", "rocket", "retina")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = [getattr(data, name)() for name in names]
    return [Image.fromarray(one) for one in loaded]


def hashes(pictures) -> np.ndarray:
    return perceptual_hash(np.stack([grey(one) for one in pictures]))


def away(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.bitwise_count(one ^ other)


def saved_again(picture: Image.Image, scale: float, quality: int) -> bytes:
    file = io.BytesIO()
    sides = [round(side * scale) for side in picture.size]
    picture.convert("RGB").resize(sides).save(file, "JPEG", quality=quality)
    return file.getvalue()


def test_equals_the_formula_term_by_term(photographs):
    rng = np.random.default_rng(0)
    greys = [grey(one) for one in photographs[:2]]
    greys += list(rng.integers(0, 256, (2, 32, 32), dtype=np.uint8))
    assert perceptual_hash(np.stack(greys)).tolist() == [direct_hash(one) for one in greys]


def test_equals_scipys_transform(photographs):
    greys = np.stack([grey(one) for one in photographs])
    low = dctn(greys.astype(float), axes=(1, 2), norm="ortho")[:, :8, :8].reshape(len(greys), 64)
    bits = low > np.median(low, axis=1, keepdims=True)
    texts = ["".join("01"[int(bit)] for bit in row) for row in bits]
    assert perceptual_hash(greys).tolist() == [int(text, 2) for text in texts]


def test_half_of_the_bits_are_set(photographs):
    assert np.bitwise_count(hashes(photographs)).tolist() == [32] * len(photographs)


@pytest.mark.parametrize(("scale", "quality"), [(1.0, 60), (0.5, 75), (1.4, 90)])
def test_copies_are_near_and_other_photographs_are_not(photographs, scale, quality):
    own = hashes(photographs)
    copies = hashes(Image.open(io.BytesIO(saved_again(one, scale, quality))) for one in photographs)
    distance = away(own[:, None], copies[None])
    assert distance.diagonal().max() <= 4
    assert distance[~np.eye(len(own), dtype=bool)].min() > 8


def test_a_draft_changes_hardly_a_bit(photographs, tmp_path):
    files = [saved_again(one, 1.0, 90) for one in photographs]
    whole = hashes(decode_picture(one, tmp_path) for one in files)
    draft = [decode_picture(one, tmp_path, draft=64) for one in files]
    assert all(one.mode == "L" and min(one.size) < 256 for one in draft)
    assert away(whole, hashes(draft)).max() <= 2


def test_the_picture_is_hashed_upright(photographs):
    picture = photographs[0].convert("RGB")
    turned = picture.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 270 degrees
    file = io.BytesIO()
    turned.save(file, "PNG", exif=exif)
    upright, stored = hashes([picture, Image.open(file)])
    assert upright == stored
    mirrored = hashes([ImageOps.mirror(picture)])
    assert away(upright, mirrored)[0] > 8


def test_flat_pictures_say_nothing_and_photographs_do(photographs):
    ramp = np.tile(np.arange(0, 256, 8, dtype=np.uint8), (32, 1))
    noise = np.random.default_rng(0).integers(127, 129, (32, 32), dtype=np.uint8)
    flat = [np.full((32, 32), 128, np.uint8), np.zeros((32, 32), np.uint8), ramp, ramp.T, noise]
    assert not is_informative(np.stack(flat)).any()
    assert is_informative(np.stack([grey(one) for one in photographs])).all()


def test_different_scenes_are_hardly_ever_near():
    from degradation.tasks import get_task

    task = get_task("scenes-relation")
    own = hashes(task.open(f"relation/val/{i}/0") for i in range(120))
    distance = away(own[:, None], own[None])[np.triu_indices(len(own), 1)]
    assert (distance <= 4).mean() < 1e-3
