"""The libraries' own towers on the same tiny files, as a reference for ours.

The libraries read the files that we read wherever they can, so that their names and shapes are
checked to be those of the hub too. Where a format is read by nothing installed (Molmo, the original
InternViT and AIMv2, whose code lives on the hub), the tensors are put into the library's class by a
table that is written out here.
"""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from family_fixtures import DEPTH, HEADS, MLP, PATCH, SIZE, WIDTH, Tiny
from torch import Tensor, nn
from transformers.vision_utils import get_vision_window_index


class Outputs(NamedTuple):
    """What each block returns, and the tokens after the norm behind the last one, if any."""

    blocks: list[Tensor]
    normed: Tensor | None


Oracle = Callable[[Tiny, Path, Tensor], Outputs]


def block_outputs(
    blocks: Iterable[nn.Module], run: Callable[[], object]
) -> tuple[list[Tensor], Any]:
    """What each block returns when the whole model runs, and what the model returns."""
    outputs = []
    handles = [
        block.register_forward_hook(lambda _m, _i, out: outputs.append(out)) for block in blocks
    ]
    with torch.no_grad():
        result = run()
    for handle in handles:
        handle.remove()
    return [out[0] if isinstance(out, tuple) else out for out in outputs], result


def with_norm(norm: nn.Module, outputs: list[Tensor]) -> Outputs:
    """The outputs, and the last one after a norm of the library's."""
    with torch.no_grad():
        return Outputs(outputs, norm(outputs[-1]))


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


def clip(_tiny: Tiny, folder: Path, pixels: Tensor) -> Outputs:
    beside = r"text_|visual_projection|logit_|.*position_ids"
    model = loaded("CLIPVisionModel", folder, beside)
    return with_norm(
        model.post_layernorm, block_outputs(model.encoder.layers, lambda: model(pixels))[0]
    )


def llava(_tiny: Tiny, folder: Path, pixels: Tensor) -> Outputs:
    tower = loaded("LlavaForConditionalGeneration", folder).model.vision_tower
    # The language model reads the last block but one.
    return Outputs(block_outputs(tower.encoder.layers, lambda: tower(pixels))[0], None)


def open_clip(tiny: Tiny, _folder: Path, pixels: Tensor) -> Outputs:
    import open_clip as library

    visual = library.CLIP(**tiny.config["model_cfg"]).visual
    filled(visual, {n[7:]: x for n, x in tiny.state.items() if n.startswith("visual.")})
    outputs, _ = block_outputs(visual.transformer.resblocks, lambda: visual(pixels))
    return with_norm(visual.ln_post, outputs)


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


def qwen(class_name: str, patch: int, norm: str) -> Oracle:
    def oracle(_tiny: Tiny, folder: Path, pixels: Tensor) -> Outputs:
        visual = loaded(class_name, folder).model.visual
        rows, grid = merge_rows(pixels, patch)
        outputs, _ = block_outputs(visual.blocks, lambda: visual(rows, grid_thw=grid))
        return with_norm(getattr(visual.merger, norm), [in_raster(out, grid) for out in outputs])

    return oracle


def qwen2_5_vl(tiny: Tiny, folder: Path, pixels: Tensor) -> Outputs:
    visual = loaded("Qwen2_5_VLForConditionalGeneration", folder).model.visual
    rows, grid = merge_rows(pixels, PATCH)
    window = tiny.config["vision_config"]["window_size"]
    order, _ = get_vision_window_index(grid, 2, window, PATCH)  # of merged cells
    outputs, _ = block_outputs(visual.blocks, lambda: visual(rows, grid_thw=grid))
    merged = [out.view(len(order), 4, -1)[order.argsort()] for out in outputs]
    return with_norm(visual.merger.ln_q, [in_raster(out, grid) for out in merged])


def molmo(tiny: Tiny, _folder: Path, pixels: Tensor) -> Outputs:
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
    return Outputs(block_outputs(model.encoder.layers, lambda: model(pixels))[0], None)


def internvit(tiny: Tiny, _folder: Path, pixels: Tensor) -> Outputs:
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
    return Outputs(block_outputs(model.encoder.layer, lambda: model(pixels))[0], None)


def aimv2(tiny: Tiny, _folder: Path, pixels: Tensor) -> Outputs:
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
    outputs, result = block_outputs(model.encoder.layers, lambda: model(pixels))
    return Outputs(outputs, result.last_hidden_state)


def aimv2_converted(_tiny: Tiny, folder: Path, pixels: Tensor) -> Outputs:
    model = loaded("Aimv2VisionModel", folder)
    outputs, result = block_outputs(model.encoder.layers, lambda: model(pixels))
    return Outputs(outputs, result.last_hidden_state)


def siglip(_tiny: Tiny, folder: Path, pixels: Tensor) -> Outputs:
    model = loaded("SiglipVisionModel", folder, r"text_model|logit_")
    outputs, result = block_outputs(model.encoder.layers, lambda: model(pixels))
    return Outputs(outputs, result.last_hidden_state)


def paligemma(_tiny: Tiny, folder: Path, pixels: Tensor) -> Outputs:
    tower = loaded("PaliGemmaForConditionalGeneration", folder).model.vision_tower
    outputs, result = block_outputs(tower.encoder.layers, lambda: tower(pixels))
    return Outputs(outputs, result.last_hidden_state)


def dinov2(_tiny: Tiny, folder: Path, pixels: Tensor) -> Outputs:
    model = loaded("Dinov2Model", folder)
    outputs, result = block_outputs(model.encoder.layer, lambda: model(pixels))
    return Outputs(outputs, result.last_hidden_state)


ORACLES: dict[str, Oracle] = {
    "clip": clip,
    "clip-tower": clip,
    "llava": llava,
    "open_clip": open_clip,
    "qwen2_vl": qwen("Qwen2VLForConditionalGeneration", PATCH, "ln_q"),
    "qwen2_vl-finetune": qwen("Qwen2VLForConditionalGeneration", PATCH, "ln_q"),
    "molmo": molmo,
    "internvit": internvit,
    "sail-vl": internvit,
    "aimv2": aimv2,
    "aimv2-converted": aimv2_converted,
    "sail-vl-1.5": aimv2,
    "siglip": siglip,
    "paligemma": paligemma,
    "dinov2": dinov2,
    "qwen3_vl": qwen("Qwen3VLForConditionalGeneration", 16, "norm"),
    "qwen2_5_vl": qwen2_5_vl,
}
