"""The native geometries of the catalogue, against the models' own processors."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.nn import functional
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import (
    LlavaNextImageProcessorPil,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import (
    Qwen2VLImageProcessorPil,
    smart_resize,
)
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from degradation.encoders.catalogue import ENCODERS
from degradation.errors import DataError
from degradation.geometry import Geometry
from degradation.views import place, render, smart_size, view

PLAIN = {"do_rescale": False, "do_normalize": False}


def noise(width: int, height: int) -> Image.Image:
    rng = np.random.default_rng(width * 1000 + height)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3)).astype(np.uint8))


@settings(max_examples=300, deadline=None)
@given(
    width=st.integers(1, 6000),
    height=st.integers(1, 6000),
    bounds=st.sampled_from([(3136, 12_845_056), (3136, 1_003_520), (200_704, 401_408), (1, 784)]),
    multiple=st.sampled_from([28, 32]),
)
def test_native_sizes_are_those_of_transformers(width, height, bounds, multiple):
    asked = {"min_pixels": bounds[0], "max_pixels": bounds[1]}
    if max(width, height) > 200 * min(width, height):
        with pytest.raises(ValueError, match="aspect ratio"):
            smart_resize(height, width, factor=multiple, **asked)
        with pytest.raises(DataError, match="200 : 1"):
            smart_size(width, height, multiple=multiple, **asked)
    else:
        expected = smart_resize(height, width, factor=multiple, **asked)
        assert smart_size(width, height, multiple=multiple, **asked) == expected


@pytest.mark.parametrize(
    ("width", "height", "shape"),
    [(224, 224, (224, 224)), (378, 378, (392, 392)), (350, 406, (392, 336)),
     (640, 480, (476, 644)), (1920, 1080, (1092, 1932)), (10, 10, (56, 56))],
)  # fmt: skip
def test_native_sizes_round_a_half_to_the_even_multiple(width, height, shape):
    assert place(width, height, Geometry("native")).shape == shape


@settings(max_examples=60, deadline=None)
@given(width=st.integers(1, 150), height=st.integers(1, 150), size=st.sampled_from([14, 33, 56]))
def test_short_crop_pixels_are_those_that_clip_sees(width, height, size):
    image = noise(width, height)
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": size},
        crop_size={"height": size, "width": size},
        do_rescale=False,
        do_normalize=False,
    )
    expected = processor(image, return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)
    np.testing.assert_array_equal(view(image, Geometry("short-crop", size))[0], expected)


def molmo(image: Image.Image, size: int) -> np.ndarray:
    """The global crop as Molmo's processor makes it, in float32 from 0 to 255."""
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()
    height, width = (np.float32(side) for side in pixels.shape[2:])
    scale = min(np.float32(size) / height, np.float32(size) / width)
    down, across = int(height * scale), int(width * scale)
    scaled = functional.interpolate(pixels, (down, across), mode="bilinear", antialias=True)
    top, left = (size - down) // 2, (size - across) // 2
    padding = (left, size - across - left, top, size - down - top)
    return functional.pad(scaled, padding)[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize(
    ("width", "height"), [(640, 480), (480, 640), (336, 336), (50, 37), (1000, 301), (336, 335)]
)
def test_padded_pixels_are_those_that_molmo_sees(width, height):
    image = noise(width, height)
    expected = molmo(image, 336)
    pixels, placement = view(image, ENCODERS["molmoe:post"].native.at(336))
    assert np.abs(pixels - expected).max() <= 0.51  # what rounding to 8 bits costs
    assert np.array_equal(pixels.any(axis=-1), expected.any(axis=-1))
    eight_bit = render(image, placement, "bilinear").astype(int)
    assert np.abs(eight_bit - expected).max() <= 1.01  # Pillow rounds after each of two passes


@settings(max_examples=200, deadline=None)
@given(width=st.integers(1, 5000), height=st.integers(1, 5000))
def test_padding_keeps_the_shape_and_fills_one_side(width, height):
    left, top, right, bottom = place(width, height, Geometry("pad", 336)).target
    assert 0 <= left <= right <= 336
    assert 0 <= top <= bottom <= 336
    across, down = right - left, bottom - top
    assert max(across, down) >= 335  # float32 may lose a pixel, as it does in Molmo
    assert min(abs(across - 336), abs(down - 336)) <= 1
    assert abs(across - down * width / height) <= max(1, width / height) + 1e-3 or down == 1
    assert 0 <= 336 - right - left <= 1
    assert 0 <= 336 - bottom - top <= 1


# ---------------------------------------------------------------- every row of the catalogue


def seen_by(processor, image: Image.Image) -> np.ndarray:
    """Pixels as a processor of transformers hands them over, rows from the top."""
    values = processor(image, return_tensors="np")["pixel_values"][0]
    values = values if values.ndim == 3 else values[0]  # the whole picture, before any tiles
    return values.transpose(1, 2, 0)


def crop(size: int, image: Image.Image) -> np.ndarray:
    sides = {"height": size, "width": size}
    return seen_by(
        CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size=sides, **PLAIN), image
    )


def siglip(size: int, image: Image.Image, resample: int = 3) -> np.ndarray:
    sides = {"height": size, "width": size}
    return seen_by(SiglipImageProcessorPil(size=sides, resample=resample, **PLAIN), image)


def dfn(size: int, image: Image.Image) -> np.ndarray:
    """By the published settings in open_clip."""
    import open_clip

    name = "ViT-H-14-378-quickgelu" if size == 378 else "ViT-H-14-quickgelu"
    published = open_clip.get_pretrained_cfg(name, "dfn5b")
    one = open_clip.transform.image_transform_v2(
        open_clip.transform.PreprocessCfg(
            size=size,
            mean=(0, 0, 0),
            std=(1, 1, 1),
            interpolation=published["interpolation"],
            resize_mode=published["resize_mode"],
        ),
        is_train=False,
    )
    return np.rint(one(image).numpy() * 255).transpose(1, 2, 0)


def qwen(patch: int, bounds: tuple[int, int], _size: int, image: Image.Image) -> np.ndarray:
    area = {"shortest_edge": bounds[0], "longest_edge": bounds[1]}
    seen = Qwen2VLImageProcessorPil(patch_size=patch, size=area, **PLAIN)(
        image, return_tensors="np"
    )
    _, rows, columns = seen["image_grid_thw"][0]
    patches = seen["pixel_values"].reshape(rows // 2, columns // 2, 2, 2, 3, 2, patch, patch)
    raster = patches[..., 0, :, :].transpose(0, 2, 5, 1, 3, 6, 4)  # both frames are the same
    return raster.reshape(rows * patch, columns * patch, 3)


def dinov2(_size: int, image: Image.Image) -> np.ndarray:
    sides = {"height": 224, "width": 224}
    return seen_by(
        BitImageProcessorPil(size={"shortest_edge": 256}, crop_size=sides, **PLAIN), image
    )


def llava_next(size: int, image: Image.Image) -> np.ndarray:
    sides = {"height": size, "width": size}
    one = LlavaNextImageProcessorPil(size={"shortest_edge": size}, crop_size=sides, **PLAIN)
    return seen_by(one, image)


def tile(size: int, image: Image.Image) -> np.ndarray:
    """One tile, as the code of InternVL and of SAIL-VL makes it."""
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))


qwen2 = partial(qwen, 14, (3136, 12_845_056))
OWN: dict[str, Callable[[int, Image.Image], np.ndarray]] = {
    "clip-l-336": crop,
    "dfn": dfn,
    "internvit": tile,
    "aimv2": crop,
    "sail": tile,
    "siglip-": siglip,
    "siglip2": partial(siglip, resample=2),
    "dinov2": dinov2,
    "qwen2-vl": qwen2,
    "qwen2.5-vl": qwen2,
    "qwen3-vl": partial(qwen, 16, (65_536, 16_777_216)),
    "molmo": lambda size, image: np.rint(molmo(image, size)),
    "llava-1.5": crop,
    "llava-1.6": llava_next,
    "auroracap": crop,
    "paligemma": siglip,
    "internvl": tile,
}
"""By the beginning of the encoder's name; SigLIP of 384 pixels at the 378 of its whole patches."""


@pytest.mark.parametrize(("width", "height"), [(100, 61), (31, 200), (378, 378), (640, 480)])
@pytest.mark.parametrize("name", ENCODERS)
def test_native_pixels_are_those_that_the_model_sees(name, width, height):
    row, image = ENCODERS[name], noise(width, height)
    (own,) = (own for beginning, own in OWN.items() if name.startswith(beginning))
    pixels, _ = view(image, row.native.at(row.size))
    expected = own(row.size, image)
    assert pixels.shape == expected.shape
    # Molmo resizes in floating point and hands over what lies between two grey levels.
    assert np.abs(pixels - expected).max() <= (1 if "molmo" in name else 0)


def test_native_geometries_by_family():
    kinds = {
        family: {row.native.kind for row in ENCODERS.values() if row.family == family}
        for family in ("clip", "siglip", "internvit", "molmo", "aimv2", "dinov2", "qwen2_vl")
    }
    assert kinds == {
        "clip": {"short-crop", "squash"},  # OpenAI's and DFN's
        "siglip": {"squash"},
        "internvit": {"squash"},
        "molmo": {"pad"},
        "aimv2": {"short-crop", "squash"},  # Apple's and SAIL's
        "dinov2": {"short-crop"},
        "qwen2_vl": {"native"},
    }
    placed = place(640, 480, ENCODERS["molmoe:post"].native.at(336))
    assert placed.target == (0, 42, 336, 293)  # 251.99998 rows in float32
    assert place(640, 480, ENCODERS["dinov2"].native).target == (-58, -16, 283, 240)
