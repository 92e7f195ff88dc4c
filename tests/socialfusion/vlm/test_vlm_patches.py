"""Pictures as Qwen2-VL takes them, against transformers' own processors."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Qwen2VLConfig
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from socialfusion.vlm.patches import native_geometry, patches, picture_array

NO_BOX = np.full(4, np.nan, dtype=np.float32)


@pytest.mark.parametrize(("width", "height"), [(64, 48), (333, 91), (28, 640), (500, 500)])
def test_patches_are_those_of_transformers(width, height):
    rng = np.random.default_rng(width)
    image = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    config = Qwen2VLConfig()
    geometry = native_geometry(config, min_pixels=56 * 56, max_pixels=200 * 28 * 28)
    array, placement = picture_array(image, geometry, box=NO_BOX)
    found, grid = patches(array, config)
    processor = Qwen2VLImageProcessorPil(
        size={"shortest_edge": 56 * 56, "longest_edge": 200 * 28 * 28}
    )
    expected = processor(images=image, return_tensors="pt")
    assert placement.unmoved
    assert [list(grid)] == expected["image_grid_thw"].tolist()
    torch.testing.assert_close(found, expected["pixel_values"].float(), atol=2e-6, rtol=0)


def test_a_cut_moves_boxes_along():
    config = Qwen2VLConfig()
    geometry = native_geometry(config, min_pixels=3136, max_pixels=28 * 28 * 64, crop="hand")
    image = Image.new("RGB", (400, 200))
    box = np.array([0.5, 0, 1, 1], dtype=np.float32)
    array, placement = picture_array(image, geometry, box=box)
    assert array.shape == (196, 196, 3)
    assert placement.boxes_to_array(box[None]).tolist() == [[0, 0, 1, 1]]
