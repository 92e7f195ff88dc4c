"""Families read through the real checkpoint reader, and the sizes of the published towers."""

import math

import pytest
import torch
from family_fixtures import CHECKPOINTS, INTERNVIT, Tiny, molmo, open_clip, write

from degradation.encoders.checkpoint import open_checkpoint
from degradation.encoders.families import FAMILIES, architecture, blocks_read, load_family
from degradation.encoders.families.locate import expand
from degradation.encoders.vit import Vit

FORMS = {
    "single": {"shards": 1},
    "sharded": {"shards": 3},
    "pickled": {"pickled": "pytorch_model.bin"},
}


@pytest.mark.parametrize("name", CHECKPOINTS)
@pytest.mark.parametrize("form", FORMS)
def test_a_folder_gives_what_memory_gives(name, form, tmp_path):
    tiny = CHECKPOINTS[name]()
    write(tmp_path, tiny, **FORMS[form])
    prefixes = FAMILIES[tiny.family].prefixes
    checkpoint = open_checkpoint(str(tmp_path), prefixes=prefixes if all(prefixes) else ())
    found = load_family(tiny.family, checkpoint, "x")
    assert found.info == load_family(tiny.family, tiny, "x").info
    assert blocks_read(tiny.family, checkpoint) == blocks_read(tiny.family, tiny)


def test_a_repository_with_both_formats_of_clip_gives_each_on_request(tmp_path):
    # As apple/DFN5B-CLIP-ViT-H-14-378: two pickles and two configurations side by side.
    write(tmp_path, CHECKPOINTS["clip"](), pickled="pytorch_model.bin")
    write(tmp_path, open_clip(), pickled="open_clip_pytorch_model.bin")
    for family, file in (
        ("clip", "pytorch_model.bin"),
        ("open_clip", "open_clip_pytorch_model.bin"),
    ):
        checkpoint = open_checkpoint(str(tmp_path), files=[file])
        assert (
            load_family(family, checkpoint, "x").info
            == load_family(family, CHECKPOINTS[family](), "x").info
        )


QWEN2_VISION = {"hidden_size": 1536, "in_chans": 3, "model_type": "qwen2_vl"}
QWEN2_VISION |= {"spatial_patch_size": 14}
CLIP_L = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24}
CLIP_L |= {"num_attention_heads": 16, "image_size": 336, "patch_size": 14}
DFN_H = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32}
DFN_H |= {"num_attention_heads": 16, "image_size": 378, "patch_size": 14}
OPEN_CLIP_H = {"image_size": 378, "layers": 32, "width": 1280, "head_width": 80, "patch_size": 14}
INTERN = INTERNVIT | {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24}
INTERN |= {"num_attention_heads": 16, "image_size": 448}
AIMV2_H = {"model_type": "aimv2", "hidden_size": 1536, "intermediate_size": 4096}
AIMV2_H |= {"num_hidden_layers": 24, "num_attention_heads": 12, "image_size": 448}
SO400M = {"model_type": "siglip_vision_model", "hidden_size": 1152, "intermediate_size": 4304}
SO400M |= {"num_attention_heads": 16, "num_hidden_layers": 27, "patch_size": 14}
DINO_L = {"model_type": "dinov2", "hidden_size": 1024, "num_hidden_layers": 24}
DINO_L |= {"num_attention_heads": 16, "image_size": 518, "patch_size": 14, "mlp_ratio": 4}
QWEN3_2B = {"model_type": "qwen3_vl", "depth": 24, "hidden_size": 1024, "num_heads": 16}
QWEN3_2B |= {"intermediate_size": 4096, "num_position_embeddings": 2304, "patch_size": 16}
QWEN3_2B |= {"deepstack_visual_indexes": [5, 11, 17]}
QWEN25 = {"model_type": "qwen2_5_vl", "hidden_size": 1280, "intermediate_size": 3420}

# Family and configuration as published.
PUBLISHED = {
    "Qwen2-VL, partial": ("qwen2_vl", {"model_type": "qwen2_vl", "vision_config": QWEN2_VISION}),
    "CLIP L/14-336": ("clip", {"model_type": "clip", "vision_config": CLIP_L}),
    "DFN H/14-378": ("clip", {"model_type": "clip", "vision_config": DFN_H}),
    "DFN, open_clip": (
        "open_clip",
        {"model_cfg": {"quick_gelu": True, "vision_cfg": OPEN_CLIP_H}},
    ),
    "LLaVA-1.5": ("clip", {"model_type": "llava", "vision_config": CLIP_L}),
    "Molmo-7B-D": ("molmo", {"model_type": "molmo", "hidden_size": 3584}),
    "InternViT-300M": ("internvit", INTERN),
    "SAIL-VL-2B": ("internvit", {"model_type": "internvl_chat", "vision_config": INTERN}),
    "AIMv2-H-448": ("aimv2", AIMV2_H),
    "SAIL-VL-1.5": ("aimv2", {"model_type": "internvl_chat", "vision_config": AIMV2_H}),
    "SigLIP-384": (
        "siglip",
        {"model_type": "siglip", "vision_config": SO400M | {"image_size": 384}},
    ),
    "PaliGemma-224": ("siglip", {"model_type": "paligemma", "vision_config": SO400M}),
    "DINOv2-L": ("dinov2", DINO_L),
    "Qwen3-VL-2B": ("qwen3_vl", {"model_type": "qwen3_vl", "vision_config": QWEN3_2B}),
    "Qwen2.5-VL-3B": ("qwen2_5_vl", {"model_type": "qwen2_5_vl", "vision_config": QWEN25}),
}
# Tensors and their entries on disk, blocks that are read.
SIZES = {
    "Qwen2-VL, partial": (385, 631_183_360, (31,)),
    "CLIP L/14-336": (389, 303_505_408, (23,)),
    "DFN H/14-378": (517, 631_368_960, (31,)),
    "DFN, open_clip": (389, 631_368_960, (31,)),
    "LLaVA-1.5": (389, 303_505_408, (22,)),
    "Molmo-7B-D": (373, 290_909_184, (21, 14)),
    "InternViT-300M": (340, 304_012_288, (23,)),
    "SAIL-VL-2B": (340, 304_012_288, (23,)),
    "AIMv2-H-448": (172, 682_030_080, (23,)),
    "SAIL-VL-1.5": (172, 682_030_080, (23,)),
    "SigLIP-384": (435, 412_984_944, (26,)),
    "PaliGemma-224": (435, 412_440_048, (26,)),
    "DINOv2-L": (436, 304_365_568, (23,)),
    "Qwen3-VL-2B": (291, 306_242_560, (23, 17, 11, 5)),
    "Qwen2.5-VL-3B": (385, 631_975_680, (31,)),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_towers_have_as_many_tensors_and_parameters_on_disk(name):
    family, config = PUBLISHED[name]
    checkpoint = Tiny(family, config, {}, "")
    with torch.device("meta"):
        tower = Vit(architecture(family, checkpoint))
    wanted, state = expand(FAMILIES[family].layouts[0], tower), tower.state_dict()
    shapes = [
        one.form.stored(tuple(state[ours].shape), len(one.names))
        for ours, one in wanted.items()
        for _ in one.names
    ]
    blocks = blocks_read(family, checkpoint)
    assert (len(shapes), sum(map(math.prod, shapes)), blocks) == SIZES[name]


def test_molmo_without_a_description_of_its_tower_is_that_of_molmoe():
    described = {"image_default_input_size": [336, 336], "image_emb_dim": 1024}
    described |= {"image_num_heads": 16, "image_num_layers": 23, "image_mlp_dim": 4096}
    silent, full = molmo(backbone=False), molmo().configured(**described)
    assert architecture("molmo", silent) == architecture("molmo", full)
