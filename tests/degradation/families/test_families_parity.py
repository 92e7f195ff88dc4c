"""Our towers against the libraries' own classes, on the same tiny files and in every block.

The libraries read the files that we read wherever they can, so that their names and shapes are
checked to be those of the hub too. Where a format is read by nothing installed (Molmo, the original
InternViT and AIMv2, whose code lives on the hub), the tensors are put into the library's class by a
table that is written out here.
"""

import re
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch
import transformers
from family_fixtures import CHECKPOINTS, DEPTH, HEADS, MLP, PATCH, SIZE, WIDTH, Tiny, write
from torch import Tensor, nn
from transformers.vision_utils import get_vision_window_index

from degradation.encoders.families import load_family

TOLERANCE = 1e-5


def block_outputs(blocks: Iterable[nn.Module], run: Callable[[], object]) -> list[Tensor]:
    """What each block returns when the whole model runs."""
    outputs = []
    handles = [
        block.register_forward_hook(lambda _m, _i, out: outputs.append(out)) for block in blocks
    ]
    with torch.no_grad():
        run()
    for handle in handles:
        handle.remove()
    return [out[0] if isinstance(out, tuple) else out for out in outputs]


def loaded(class_name: str, folder: Path, beside: str = r"$^", **arguments: object) -> nn.Module:
    """A transformers model read from the folder, nothing missing and nothing unknown."""
    kind = getattr(transformers, class_name)
    model, report = kind.from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True, **arguments
    )
    assert not report["missing_keys"]
    assert not report["mismatched_keys"]
    assert [key for key in report["unexpected_keys"] if not re.match(beside, key)] == []
    return model.eval()


def filled(model: nn.Module, state: dict[str, Tensor]) -> nn.Module:
    """The model with exactly these tensors."""
    model.load_state_dict({name: x.float() for name, x in state.items()}, strict=True)
    return model.eval()


def renamed(tiny: Tiny, table: list[tuple[str, str]], dropped: str = r"$^") -> dict[str, Tensor]:
    """The tensors under the prefix in other names; the first pattern that fits decides."""
    state = {}
    for name, tensor in tiny.state.items():
        bare = name.removeprefix(tiny.prefix)
        if not name.startswith(tiny.prefix) or re.match(dropped, bare):
            continue
        pattern, new = next((p, n) for p, n in table if re.fullmatch(p, bare))
        state[re.sub(pattern, new, bare)] = tensor
    return state


def split_qkv(state: dict[str, Tensor], joined: str, parts: str) -> dict[str, Tensor]:
    """The state with each fused projection in three; `{}` in `parts` is q, k or v."""
    result = {}
    for name, tensor in state.items():
        if joined not in name:
            result[name] = tensor
            continue
        for part, third in zip("qkv", tensor.chunk(3), strict=True):
            result[name.replace(joined, parts.format(part))] = third
    return result


def clip(_tiny: Tiny, folder: Path, pixels: Tensor) -> list[Tensor]:
    beside = r"text_|visual_projection|logit_|.*position_ids"
    model = loaded("CLIPVisionModel", folder, beside)
    return block_outputs(model.encoder.layers, lambda: model(pixels))


def llava(_tiny: Tiny, folder: Path, pixels: Tensor) -> list[Tensor]:
    tower = loaded("LlavaForConditionalGeneration", folder).model.vision_tower
    return block_outputs(tower.encoder.layers, lambda: tower(pixels))


def open_clip(tiny: Tiny, _folder: Path, pixels: Tensor) -> list[Tensor]:
    import open_clip as library

    visual = library.CLIP(**tiny.config["model_cfg"]).visual
    filled(visual, {n[7:]: x for n, x in tiny.state.items() if n.startswith("visual.")})
    return block_outputs(visual.transformer.resblocks, lambda: visual(pixels))


def merge_rows(pixels: Tensor, patch: int) -> tuple[Tensor, Tensor]:
    """Patches as Qwen's processor hands them over, and the grid of each picture.

    Blocks of 2 x 2 cells one after the other; each patch twice in time, as (channel, frame, row,
    column).
    """
    b, _, height, width = pixels.shape
    h, w = height // patch, width // patch
    cells = pixels.view(b, 3, h // 2, 2, patch, w // 2, 2, patch)
    cells = cells.permute(0, 2, 5, 3, 6, 1, 4, 7).reshape(b * h * w, 3, 1, patch, patch)
    return cells.expand(-1, -1, 2, -1, -1).flatten(1), torch.tensor([[1, h, w]] * b)


def in_raster(tokens: Tensor, grid: Tensor) -> Tensor:
    """Tokens in blocks of 2 x 2 cells, brought to raster order: (b, h*w, d)."""
    _, h, w = grid[0].tolist()
    raster = torch.arange(h * w).view(h // 2, 2, w // 2, 2).permute(0, 2, 1, 3).flatten()
    return tokens.view(len(grid), h * w, -1)[:, raster.argsort()]


def qwen(class_name: str, patch: int) -> Callable[[Tiny, Path, Tensor], list[Tensor]]:
    def oracle(_tiny: Tiny, folder: Path, pixels: Tensor) -> list[Tensor]:
        visual = loaded(class_name, folder).model.visual
        rows, grid = merge_rows(pixels, patch)
        outputs = block_outputs(visual.blocks, lambda: visual(rows, grid_thw=grid))
        return [in_raster(out, grid) for out in outputs]

    return oracle


def qwen2_5_vl(tiny: Tiny, folder: Path, pixels: Tensor) -> list[Tensor]:
    visual = loaded("Qwen2_5_VLForConditionalGeneration", folder).model.visual
    rows, grid = merge_rows(pixels, PATCH)
    window = tiny.config["vision_config"]["window_size"]
    order, _ = get_vision_window_index(grid, 2, window, PATCH)  # of merged cells
    outputs = block_outputs(visual.blocks, lambda: visual(rows, grid_thw=grid))
    return [in_raster(out.view(len(order), 4, -1)[order.argsort()], grid) for out in outputs]


def molmo(tiny: Tiny, _folder: Path, pixels: Tensor) -> list[Tensor]:
    """The CLIP tower that Molmo's is: transformers' class with one block less and no last norm."""
    depth = tiny.config["vision_backbone"]["image_num_layers"]
    config = transformers.CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=MLP,
        num_hidden_layers=depth,
        num_attention_heads=HEADS,
        image_size=SIZE,
        patch_size=PATCH,
        hidden_act="quick_gelu",
    )
    layer = r"encoder.layers.\1"
    table = [
        (r"class_embedding", "embeddings.class_embedding"),
        (r"positional_embedding", "embeddings.position_embedding.weight"),
        (r"patch_embedding.weight", "embeddings.patch_embedding.weight"),
        (r"pre_ln\.(.*)", r"pre_layrnorm.\1"),
        (r".*resblocks\.(\d+)\.attention\.w([qkv])\.(.*)", rf"{layer}.self_attn.\2_proj.\3"),
        (r".*resblocks\.(\d+)\.attention\.wo\.(.*)", rf"{layer}.self_attn.out_proj.\2"),
        (r".*resblocks\.(\d+)\.attention_norm\.(.*)", rf"{layer}.layer_norm1.\2"),
        (r".*resblocks\.(\d+)\.ffn_norm\.(.*)", rf"{layer}.layer_norm2.\2"),
        (r".*resblocks\.(\d+)\.feed_forward\.w([12])\.(.*)", rf"{layer}.mlp.fc\2.\3"),
    ]
    state = renamed(tiny, table)
    kernel = state["embeddings.patch_embedding.weight"].view(WIDTH, PATCH, PATCH, 3)
    state["embeddings.patch_embedding.weight"] = kernel.permute(0, 3, 1, 2)
    state |= {"post_layernorm.weight": torch.ones(WIDTH), "post_layernorm.bias": torch.zeros(WIDTH)}
    model = filled(transformers.CLIPVisionModel(config), state)
    return block_outputs(model.encoder.layers, lambda: model(pixels))


def internvit(tiny: Tiny, _folder: Path, pixels: Tensor) -> list[Tensor]:
    config = transformers.InternVLVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=MLP,
        num_hidden_layers=DEPTH,
        num_attention_heads=HEADS,
        image_size=SIZE,
        patch_size=PATCH,
        attention_bias=True,
    )
    layer = r"encoder.layer.\1"
    table = [
        (r"embeddings.class_embedding", "embeddings.cls_token"),
        (r"embeddings.position_embedding", "embeddings.position_embeddings"),
        (r"embeddings.patch_embedding\.(.*)", r"embeddings.patch_embeddings.projection.\1"),
        (r"encoder.layers\.(\d+)\.attn\.qkv\.(.*)", rf"{layer}.attention.qkv.\2"),
        (r"encoder.layers\.(\d+)\.attn\.proj\.(.*)", rf"{layer}.attention.projection_layer.\2"),
        (r"encoder.layers\.(\d+)\.norm1\.(.*)", rf"{layer}.layernorm_before.\2"),
        (r"encoder.layers\.(\d+)\.norm2\.(.*)", rf"{layer}.layernorm_after.\2"),
        (r"encoder.layers\.(\d+)\.ls([12])", rf"{layer}.lambda_\2"),
        (r"encoder.layers\.(\d+)\.(mlp\..*)", rf"{layer}.\2"),
    ]
    state = split_qkv(renamed(tiny, table), "attention.qkv", "attention.{}_proj")
    model = filled(transformers.InternVLVisionModel(config), state)
    return block_outputs(model.encoder.layer, lambda: model(pixels))


def aimv2(tiny: Tiny, _folder: Path, pixels: Tensor) -> list[Tensor]:
    config = transformers.Aimv2VisionConfig(
        hidden_size=WIDTH,
        intermediate_size=MLP,
        num_hidden_layers=DEPTH,
        num_attention_heads=HEADS,
        image_size=SIZE,
        patch_size=PATCH,
        use_head=False,
    )
    layer = r"encoder.layers.\1"
    table = [
        (r"preprocessor.pos_embed", "embeddings.position_embedding.weight"),
        (r"preprocessor.patchifier.proj\.(.*)", r"embeddings.patch_embed.\1"),
        (r"preprocessor.patchifier.norm\.(.*)", r"embeddings.rms_norm.\1"),
        (r"trunk.post_trunk_norm\.(.*)", r"rms_norm.\1"),
        (r"trunk.blocks\.(\d+)\.norm_([12])\.(.*)", rf"{layer}.rms_norm\2.\3"),
        (r"trunk.blocks\.(\d+)\.attn\.qkv\.(.*)", rf"{layer}.attention.qkv.\2"),
        (r"trunk.blocks\.(\d+)\.attn\.proj\.(.*)", rf"{layer}.attention.out_proj.\2"),
        (r"trunk.blocks\.(\d+)\.mlp\.fc1\.(.*)", rf"{layer}.ffn.gate_proj.\2"),
        (r"trunk.blocks\.(\d+)\.mlp\.fc2\.(.*)", rf"{layer}.ffn.down_proj.\2"),
        (r"trunk.blocks\.(\d+)\.mlp\.fc3\.(.*)", rf"{layer}.ffn.up_proj.\2"),
    ]
    state = split_qkv(renamed(tiny, table), "attention.qkv", "attention.{}_proj")
    state["embeddings.position_embedding.weight"] = state["embeddings.position_embedding.weight"][0]
    model = filled(transformers.Aimv2VisionModel(config), state)
    return block_outputs(model.encoder.layers, lambda: model(pixels))


def aimv2_converted(_tiny: Tiny, folder: Path, pixels: Tensor) -> list[Tensor]:
    model = loaded("Aimv2VisionModel", folder)
    return block_outputs(model.encoder.layers, lambda: model(pixels))


def siglip(_tiny: Tiny, folder: Path, pixels: Tensor) -> list[Tensor]:
    model = loaded("SiglipVisionModel", folder, r"text_model|logit_")
    return block_outputs(model.encoder.layers, lambda: model(pixels))


def paligemma(_tiny: Tiny, folder: Path, pixels: Tensor) -> list[Tensor]:
    tower = loaded("PaliGemmaForConditionalGeneration", folder).model.vision_tower
    return block_outputs(tower.encoder.layers, lambda: tower(pixels))


def dinov2(_tiny: Tiny, folder: Path, pixels: Tensor) -> list[Tensor]:
    model = loaded("Dinov2Model", folder)
    return block_outputs(model.encoder.layer, lambda: model(pixels))


ORACLES: dict[str, Callable[[Tiny, Path, Tensor], list[Tensor]]] = {
    "clip": clip,
    "clip-tower": clip,
    "llava": llava,
    "open_clip": open_clip,
    "qwen2_vl": qwen("Qwen2VLForConditionalGeneration", PATCH),
    "qwen2_vl-finetune": qwen("Qwen2VLForConditionalGeneration", PATCH),
    "molmo": molmo,
    "internvit": internvit,
    "sail-vl": internvit,
    "aimv2": aimv2,
    "aimv2-converted": aimv2_converted,
    "sail-vl-1.5": aimv2,
    "siglip": siglip,
    "paligemma": paligemma,
    "dinov2": dinov2,
    "qwen3_vl": qwen("Qwen3VLForConditionalGeneration", 16),
    "qwen2_5_vl": qwen2_5_vl,
}


def assert_equal_in_every_block(
    tiny: Tiny, oracle: Callable, folder: Path, size: int, interpolation: str | None = None
) -> None:
    tower = load_family(tiny.family, tiny, "tiny", size=size, interpolation=interpolation).tower
    pixels = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries, about tensors beside the tower
        expected = oracle(tiny, folder, pixels)
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

    def oracle(tiny: Tiny, folder: Path, pixels: Tensor) -> list[Tensor]:
        if name in ("dinov2", "internvit"):  # whose classes interpolate unasked
            return ORACLES[name](tiny, folder, pixels)
        kind, beside = {
            "clip": ("CLIPVisionModel", r"text_|visual_projection|logit_|.*position_ids"),
            "siglip": ("SiglipVisionModel", r"text_model|logit_"),
        }[name]
        model = loaded(kind, folder, beside)
        return block_outputs(
            model.encoder.layers, lambda: model(pixels, interpolate_pos_encoding=True)
        )

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
    expected = block_outputs(theirs.blocks, lambda: theirs(flat.flatten(1), grid_thw=grid))
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
        expected = siglip(tiny, write(tmp_path, tiny), pixels)
    with torch.no_grad():
        found = encoder.tower(pixels[..., :SIZE, :SIZE], [DEPTH - 1])[DEPTH - 1].patches
    assert (found - expected[-1]).abs().max() <= TOLERANCE
