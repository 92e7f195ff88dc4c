"""Which part of a model a parameter belongs to."""

import pytest

from degradation.encoders.tiny import read_tiny
from degradation.encoders.vit import Vit, VitConfig
from probes.conflict.leaves import Leaf, leaf_of, leaves_of, membership, parts_of

KNOWN = {
    # ours
    "positions": "embedding",
    "cls": "embedding",
    "stem.4.weight": "embedding",
    "patch_embed.weight": "embedding",
    "patch_norm.weight": "embedding",
    "norm_pre.bias": "embedding",
    "norm_post.weight": "norm",
    "blocks.2.attn.qkv.weight": "block 2 attention",
    "blocks.2.attn.proj.bias": "block 2 attention",
    "blocks.11.mlp.fc1.weight": "block 11 mlp",
    "blocks.0.norm1.weight": "block 0 norm",
    "blocks.0.scale2": "block 0 norm",
    "tower.blocks.2.mlp.fc2.weight": "block 2 mlp",
    # transformers
    "embeddings.class_embedding": "embedding",
    "embeddings.position_embedding.weight": "embedding",
    "pre_layrnorm.weight": "embedding",
    "vision_model.encoder.layers.3.self_attn.k_proj.weight": "block 3 attention",
    "model.encoder.layers.3.layer_norm2.bias": "block 3 norm",
    "post_layernorm.weight": "norm",
    "head.attention.in_proj_weight": "head",
    "encoder.layer.7.layer_scale1.lambda1": "block 7 norm",
    "encoder.layer.7.attention.o_proj.weight": "block 7 attention",
    "layernorm.bias": "norm",
    "layers.0.layernorm_before.weight": "block 0 norm",
    "pooler.dense.weight": "head",
    # open_clip
    "class_embedding": "embedding",
    "proj": "head",
    "conv1.weight": "embedding",
    "ln_pre.weight": "embedding",
    "transformer.resblocks.5.ln_1.weight": "block 5 norm",
    "transformer.resblocks.5.attn.in_proj_weight": "block 5 attention",
    "transformer.resblocks.5.mlp.c_fc.weight": "block 5 mlp",
    "ln_post.bias": "norm",
    # timm
    "trunk.patch_embed.proj.weight": "embedding",
    "trunk.pos_embed": "embedding",
    "trunk.blocks.1.attn.proj.weight": "block 1 attention",
    "trunk.blocks.1.ls1.gamma": "block 1 norm",
    "norm.weight": "norm",
    "head.bias": "head",
    # SocialFusion
    "connector.layers.0.weight": "connector",
    "boxes.role.weight": "boxes",
    "heatmap.blocks.1.attn.qkv.weight": "heatmap",
    "language_model.model.layers.4.self_attn.q_proj.lora_A.default.weight": "layer 4 LoRA q_proj",
    "language_model.model.layers.4.mlp.up_proj.lora_B.weight": "layer 4 LoRA up_proj",
}


@pytest.mark.parametrize(("name", "leaf"), KNOWN.items())
def test_leaf_of_known_names(name, leaf):
    assert leaf_of(name).name == leaf


def test_every_parameter_of_the_shipped_tower_has_a_leaf():
    names = [name for name, _ in read_tiny("pre").named_parameters()]
    leaves = leaves_of(names)
    assert sorted(name for members in leaves.values() for name in members) == sorted(names)
    assert {leaf.name for leaf in leaves} == {"embedding"} | {
        f"block {block} {kind}" for block in range(3) for kind in ("attention", "mlp", "norm")
    }


def test_no_switch_of_the_tower_makes_an_unknown_kind():
    config = VitConfig(
        size=8, patch=4, width=8, depth=2, heads=2, mlp=8, cls=False, patch_norm=True, norm="rms",
        activation="swiglu", layer_scale=True, final_norm=True, rope=True, learned_positions=False,
    )  # fmt: skip
    kinds = {leaf_of(name).kind for name, _ in Vit(config).named_parameters()}
    assert kinds == {"embedding", "attention", "mlp", "norm"}


def test_parts_are_unions_of_leaves():
    leaves = (
        Leaf(None, "embedding"), Leaf(0, "attention"), Leaf(0, "mlp"), Leaf(1, "attention"),
        Leaf(0, "LoRA q_proj"),
    )  # fmt: skip
    parts = parts_of(leaves)
    members = {part.name: part.members for part in parts}
    assert parts[0].name == "all"
    assert members == {
        "all": (0, 1, 2, 3, 4),
        "block 0": (1, 2),
        "block 1": (3,),
        "layer 0": (4,),
        "embedding": (0,),
        "attention": (1, 3),
        "mlp": (2,),
        "LoRA q_proj": (4,),
        "block 0 attention": (1,),
        "block 0 mlp": (2,),
        "block 1 attention": (3,),
        "layer 0 LoRA q_proj": (4,),
    }
    table = membership(parts, len(leaves))
    assert table.sum(axis=1).tolist() == [len(part.members) for part in parts]
    assert table[2].tolist() == [0, 0, 0, 1, 0]
