"""Our towers against the libraries' own classes, on the same tiny files and in every block."""

import warnings
from pathlib import Path

import pytest
import torch
import transformers
from family_fixtures import CHECKPOINTS, DEPTH, PATCH, SIZE, WIDTH, Tiny, write
from library_towers import ORACLES, Oracle, Outputs, block_outputs, loaded, siglip
from torch import Tensor

from degradation.encoders.families import load_family
from degradation.errors import ConfigError, WeightsError

TOLERANCE = 1e-5


def assert_equal_in_every_block(
    tiny: Tiny, oracle: Oracle, folder: Path, size: int, interpolation: str | None = None
) -> None:
    tower = load_family(tiny.family, tiny, "tiny", size=size, interpolation=interpolation).tower
    pixels = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries, about tensors beside the tower
        expected = oracle(tiny, folder, pixels).blocks
    depth = tower.config.depth
    with torch.no_grad():
        found = tower(pixels, range(depth))
    assert len(expected) == depth
    for number, theirs in enumerate(expected):
        ours = torch.cat([found[number].prefix, found[number].patches], dim=1)
        assert ours.shape == theirs.shape
        assert (ours - theirs).abs().max() <= TOLERANCE
        assert theirs.std() > 0.1  # features that a mistake would show in


def test_every_checkpoint_has_an_oracle():
    assert ORACLES.keys() == CHECKPOINTS.keys()


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_every_block_equals_that_of_the_library(name, tmp_path):
    tiny = CHECKPOINTS[name]()
    folder = write(tmp_path, tiny, shards=1 if "clip" in name else 2)
    size = 64 if name == "qwen3_vl" else SIZE
    assert_equal_in_every_block(tiny, ORACLES[name], folder, size)


@pytest.mark.parametrize("cells", [2, 6])
def test_positions_of_qwen3_vl_at_another_grid_equal_those_of_the_library(cells, tmp_path):
    tiny = CHECKPOINTS["qwen3_vl"]()
    assert_equal_in_every_block(tiny, ORACLES["qwen3_vl"], write(tmp_path, tiny), cells * 16)


@pytest.mark.parametrize("name", ["clip", "siglip", "dinov2", "internvit"])
@pytest.mark.parametrize("cells", [3, 7])
def test_bicubic_positions_at_another_grid_equal_those_of_the_library(name, cells, tmp_path):
    tiny = CHECKPOINTS[name]()

    def oracle(tiny: Tiny, folder: Path, pixels: Tensor) -> Outputs:
        if name in ("dinov2", "internvit"):  # whose classes interpolate unasked
            return ORACLES[name](tiny, folder, pixels)
        kind, beside = {
            "clip": ("CLIPVisionModel", r"text_|visual_projection|logit_|.*position_ids"),
            "siglip": ("SiglipVisionModel", r"text_model|logit_"),
        }[name]
        model = loaded(kind, folder, beside)
        outputs, _ = block_outputs(
            model.encoder.layers, lambda: model(pixels, interpolate_pos_encoding=True)
        )
        return Outputs(outputs, None)

    assert_equal_in_every_block(tiny, oracle, write(tmp_path, tiny), cells * PATCH, "bicubic")


@pytest.mark.parametrize(("rows", "columns"), [(3, 3), (5, 5), (3, 5)])
def test_odd_grids_of_qwen2_vl_equal_those_of_the_library(rows, columns):
    # The library's class takes odd grids when it merges no cells; its order is then the raster.
    tiny = CHECKPOINTS["qwen2_vl"]()
    config = transformers.Qwen2VLConfig(**tiny.config).vision_config
    config.spatial_merge_size = 1
    theirs = transformers.models.qwen2_vl.modeling_qwen2_vl.Qwen2VisionTransformerPretrainedModel(
        config
    )
    state = {
        n.removeprefix("visual."): x.float()
        for n, x in tiny.state.items()
        if n.startswith("visual.") and "merger" not in n
    }
    report = theirs.load_state_dict(state, strict=False)
    assert not report.unexpected_keys
    assert all(key.startswith("merger.") for key in report.missing_keys)
    theirs.eval()
    pixels = torch.randn(2, 3, rows * PATCH, columns * PATCH)
    cells = pixels.view(2, 3, rows, PATCH, columns, PATCH).permute(0, 2, 4, 1, 3, 5)
    flat = cells.reshape(2 * rows * columns, 3, 1, PATCH, PATCH).expand(-1, -1, 2, -1, -1)
    grid = torch.tensor([[1, rows, columns]] * 2)
    expected, _ = block_outputs(theirs.blocks, lambda: theirs(flat.flatten(1), grid_thw=grid))
    with torch.no_grad():
        found = load_family("qwen2_vl", tiny, "tiny").tower(pixels, range(DEPTH))
    for number, out in enumerate(expected):
        difference = found[number].patches - out.view(2, rows * columns, WIDTH)
        assert difference.abs().max() <= TOLERANCE


def test_the_frozen_tower_of_llava_equals_clip_exactly():
    ours = [load_family("clip", CHECKPOINTS[name](), name) for name in ("clip", "llava")]
    pixels = torch.randint(0, 256, (2, 3, SIZE, SIZE), dtype=torch.uint8)
    pre, post = (encoder(pixels, range(DEPTH)) for encoder in ours)
    assert all(torch.equal(pre[i].patches, post[i].patches) for i in range(DEPTH))
    assert ours[0].info.digest == ours[1].info.digest


def test_a_rest_of_less_than_a_patch_is_passed_over_as_by_the_library(tmp_path):
    # google/siglip-so400m-patch14-384: 384 pixels hold 27 patches of 14.
    tiny = CHECKPOINTS["siglip"]().configured(image_size=SIZE + 4)
    encoder = load_family("siglip", tiny, "x")
    assert encoder.info.size == SIZE
    pixels = torch.randn(2, 3, SIZE + 4, SIZE + 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = siglip(tiny, write(tmp_path, tiny), pixels).blocks
    with torch.no_grad():
        found = encoder.tower(pixels[..., :SIZE, :SIZE], [DEPTH - 1])[DEPTH - 1].patches
    assert (found - expected[-1]).abs().max() <= TOLERANCE


# --- the norm behind the last block -----------------------------------------------------------


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_the_final_norm_equals_that_of_the_library(name, tmp_path):
    tiny = CHECKPOINTS[name]()
    size = 64 if name == "qwen3_vl" else SIZE
    encoders = [
        load_family(tiny.family, tiny, "x", size=size, final_norm=norm) for norm in (False, True)
    ]
    pixels = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries, about tensors beside the tower
        expected = ORACLES[name](tiny, write(tmp_path, tiny), pixels)
    last = encoders[0].info.n_blocks - 1
    with torch.no_grad():
        before, after = (encoder.tower(pixels, range(last + 1)) for encoder in encoders)
    for number in range(last):
        assert torch.equal(before[number].patches, after[number].patches)
    # None: nothing reads the last block, or what reads it applies no norm.
    reads_no_norm = {"llava", "molmo", "internvit", "sail-vl"}
    assert (expected.normed is None) == (name in reads_no_norm)
    assert encoders[1].final_norm == (name not in reads_no_norm)
    assert (encoders[0].info.digest == encoders[1].info.digest) == (name in reads_no_norm)
    normed = expected.blocks[-1] if expected.normed is None else expected.normed
    found = torch.cat([after[last].prefix, after[last].patches], dim=1)
    assert (found - normed).abs().max() <= TOLERANCE
    assert expected.normed is None or (normed - expected.blocks[-1]).abs().max() > 0.1


def test_a_final_norm_that_is_missing_is_refused():
    tiny = CHECKPOINTS["clip"]().changed(**{"post_layernorm.weight": None})
    load_family("clip", tiny, "x")
    with pytest.raises(WeightsError, match=r"1 missing \(vision_model.post_layernorm.weight\)"):
        load_family("clip", tiny, "x", final_norm=True)


def test_sail_vl_that_reads_an_earlier_block_applies_no_norm():
    tiny = CHECKPOINTS["sail-vl-1.5"]()
    assert load_family("aimv2", tiny, "x", final_norm=True).final_norm
    tiny.config["select_layer"] = -2
    assert not load_family("aimv2", tiny, "x", final_norm=True).final_norm


# --- pictures of any shape --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "patch"), [("qwen2_vl", 14), ("qwen2_5_vl", 14), ("qwen3_vl", 16)]
)
@pytest.mark.parametrize(("rows", "columns"), [(2, 6), (6, 4), (4, 4)])
def test_pictures_of_any_shape_equal_those_of_the_library(name, patch, rows, columns, tmp_path):
    tiny = CHECKPOINTS[name]()
    # Bicubic is for the other side: Qwen3-VL has a way of its own.
    encoder = load_family(tiny.family, tiny, "x", any_grid=True, interpolation="bicubic")
    pixels = torch.randint(0, 256, (2, 3, rows * patch, columns * patch), dtype=torch.uint8)
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (encoder.info.mean, encoder.info.std))
    expected = ORACLES[name](tiny, write(tmp_path, tiny), (pixels / 255 - mean) / std)
    found = encoder(pixels, range(DEPTH))
    for number, theirs in enumerate(expected.blocks):
        assert (found[number].patches - theirs).abs().max() <= TOLERANCE
    with pytest.raises(ConfigError, match=f"multiples of {patch}, but these are"):
        encoder(pixels[..., 1:], [0])


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_tables_at_rectangles_equal_those_of_the_library(name, tmp_path):
    tiny, pixels = CHECKPOINTS[name](), torch.randn(2, 3, 3 * PATCH, 6 * PATCH)
    kind, beside = {
        "clip": ("CLIPVisionModel", r"text_|visual_projection|logit_|.*position_ids"),
        "siglip": ("SiglipVisionModel", r"text_model|logit_"),
    }[name]
    model = loaded(kind, write(tmp_path, tiny), beside)
    expected, _ = block_outputs(
        model.encoder.layers, lambda: model(pixels, interpolate_pos_encoding=True)
    )
    tower = load_family(tiny.family, tiny, "x", any_grid=True, interpolation="bicubic").tower
    with torch.no_grad():
        found = tower(pixels, range(DEPTH))
    for number, theirs in enumerate(expected):
        ours = torch.cat([found[number].prefix, found[number].patches], dim=1)
        assert (ours - theirs).abs().max() <= TOLERANCE


def test_a_table_is_not_interpolated_unasked():
    clip = CHECKPOINTS["clip"]()
    with pytest.raises(ConfigError, match="Give --positions bicubic"):
        load_family("clip", clip, "x", any_grid=True)
    with pytest.raises(ConfigError, match="any shape, but also of side 56"):
        load_family("clip", clip, "x", any_grid=True, interpolation="bicubic", size=56)
    digests = {
        load_family("clip", clip, "x", any_grid=free, interpolation="bicubic").info.digest
        for free in (False, True)
    }
    assert len(digests) == 2
    qwen = CHECKPOINTS["qwen2_vl"]()  # without a table, any grid is the same tower
    digests = {load_family("qwen2_vl", qwen, "x", any_grid=f).info.digest for f in (False, True)}
    assert len(digests) == 1
