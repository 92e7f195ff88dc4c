"""Vision-language models with their towers, in the formats of the hub."""

from typing import Any

import torch
from tiny_checkpoints import (
    CELLS,
    DEPTH,
    HEADS,
    LLM,
    MLP,
    PATCH,
    SIZE,
    TEXT,
    VOCABULARY,
    WIDTH,
    Shapes,
    Tiny,
    drawn,
    language_model,
    linear,
    norm,
    prefixed,
)
from tiny_encoders import (
    AIMV2,
    CLIP_VISION,
    INTERNVIT,
    SIGLIP_VISION,
    aimv2_shapes,
    clip_shapes,
    internvit_shapes,
)


def llava(prefix: str = "vision_tower.vision_model.", seed: int = 1) -> Tiny:
    """llava-hf/llava-1.5-7b-hf: the tower of `clip`, bit for bit, and a partial vision_config."""
    tower = drawn(prefixed("vision_model.", clip_shapes()), seed=seed)
    rest = linear("multi_modal_projector.linear_1", LLM, WIDTH)
    rest |= linear("multi_modal_projector.linear_2", LLM, LLM)
    rest |= language_model("language_model.model.", "language_model.lm_head.weight", False)
    state = {prefix + name.removeprefix("vision_model."): x for name, x in tower.items()}
    config = {
        "model_type": "llava",
        "architectures": ["LlavaForConditionalGeneration"],
        "image_token_index": 32,
        "projector_hidden_act": "gelu",
        "text_config": TEXT | {"model_type": "llama"},
        "vision_config": CLIP_VISION,
        "vision_feature_layer": -2,
        "vision_feature_select_strategy": "default",
    }
    return Tiny("clip", config, state | drawn(rest, seed=9), prefix)


def qwen2_vl(prefix: str = "visual.", *, nested: bool = False) -> Tiny:
    """Qwen/Qwen2-VL-2B-Instruct; with nested=True as a finetune saved by transformers 5."""
    shapes: Shapes = {"patch_embed.proj.weight": (WIDTH, 3, 2, PATCH, PATCH)}
    for i in range(DEPTH):
        block = f"blocks.{i}"
        shapes |= norm(f"{block}.norm1") | norm(f"{block}.norm2")
        shapes |= linear(f"{block}.attn.qkv", 3 * WIDTH, WIDTH)
        shapes |= linear(f"{block}.attn.proj", WIDTH, WIDTH)
        shapes |= linear(f"{block}.mlp.fc1", 2 * WIDTH, WIDTH)
        shapes |= linear(f"{block}.mlp.fc2", WIDTH, 2 * WIDTH)
    shapes |= norm("merger.ln_q") | linear("merger.mlp.0", 4 * WIDTH, 4 * WIDTH)
    shapes |= linear("merger.mlp.2", LLM, 4 * WIDTH)
    text = "model.language_model." if prefix.startswith("model.") else "model."
    shapes = prefixed(prefix, shapes) | language_model(text, "lm_head.weight", True)
    rope = {"rope_type": "default", "mrope_section": [2, 2, 2]}
    vision = {
        "depth": DEPTH,
        "embed_dim": WIDTH,
        "hidden_size": LLM,
        "num_heads": HEADS,
        "mlp_ratio": 2,
        "in_chans": 3,
        "model_type": "qwen2_vl",
        "spatial_patch_size": PATCH,
    }
    config = {"model_type": "qwen2_vl", "architectures": ["Qwen2VLForConditionalGeneration"]}
    if nested:
        vision |= {
            "in_channels": 3,
            "hidden_act": "quick_gelu",
            "model_type": "qwen2_vl_vision",
            "patch_size": PATCH,
            "temporal_patch_size": 2,
            "rope_parameters": {"rope_type": "axial", "rope_theta": 10000.0},
        }
        text_config = TEXT | {"model_type": "qwen2_vl_text", "rope_parameters": rope}
        config |= {"text_config": text_config, "tie_word_embeddings": False}
    else:
        config |= TEXT | {"hidden_act": "silu", "rope_theta": 1e6, "rope_scaling": rope}
        config |= {"tie_word_embeddings": False}
    config["vision_config"] = vision
    return Tiny("qwen2_vl", config, drawn(shapes, seed=4, dtype=torch.bfloat16), prefix)


def molmo(*, backbone: bool = True, depth: int = 5) -> Tiny:
    """allenai/MolmoE-1B-0924; without backbone the config.json of Molmo-7B-D."""
    vit: Shapes = {
        "class_embedding": (WIDTH,),
        "positional_embedding": (CELLS + 1, WIDTH),
        "patch_embedding.weight": (WIDTH, PATCH * PATCH * 3),
    }
    vit |= norm("pre_ln")
    for i in range(depth):
        block = f"transformer.resblocks.{i}"
        for part in ("wq", "wk", "wv", "wo"):
            vit |= linear(f"{block}.attention.{part}", WIDTH, WIDTH)
        vit |= norm(f"{block}.attention_norm") | norm(f"{block}.ffn_norm")
        vit |= linear(f"{block}.feed_forward.w1", MLP, WIDTH)
        vit |= linear(f"{block}.feed_forward.w2", WIDTH, MLP)
    prefix = "model.vision_backbone.image_vit."
    connector: Shapes = {"pad_embed": (2, 2 * WIDTH)}
    for part, out, into in (("wq", WIDTH, 2 * WIDTH), ("wo", WIDTH, WIDTH)):
        connector |= linear(f"image_pooling_2d.{part}", out, into)
    connector |= linear("image_projector.w1", LLM, WIDTH, bias=False)
    shapes = prefixed(prefix, vit) | prefixed("model.vision_backbone.", connector)
    shapes |= {"model.transformer.wte.embedding": (VOCABULARY, LLM)}
    config = {
        "model_type": "molmo",
        "architectures": ["OLMoForCausalLM"],
        "auto_map": {"AutoConfig": "config_molmoe.MolmoConfig"},
        "hidden_size": LLM,
        "vit_layers": [-2, -4],
    }
    if backbone:
        config["vision_backbone"] = {
            "image_model_type": "openai",
            "image_default_input_size": [SIZE, SIZE],
            "image_patch_size": PATCH,
            "image_emb_dim": WIDTH,
            "image_num_heads": HEADS,
            "image_num_layers": depth,
            "image_mlp_dim": MLP,
            "image_mlp_activations": "quick_gelu",
            "image_num_pos": CELLS + 1,
            "image_norm_eps": 1e-5,
            "resize_mode": "default",
        }
    return Tiny("molmo", config, drawn(shapes, seed=5), prefix)


def chat(vision: dict[str, Any], shapes: Shapes, family: str, seed: int) -> Tiny:
    """A chat model in the layout of InternVL, as SAIL-VL and InternVL2 are."""
    rest = linear("mlp1.1", LLM, 4 * WIDTH) | linear("mlp1.3", LLM, LLM) | norm("mlp1.0", 4 * WIDTH)
    rest |= language_model("language_model.model.", "language_model.lm_head.weight", True)
    config = {
        "model_type": "internvl_chat",
        "architectures": ["SailVLModel"],
        "downsample_ratio": 0.5,
        "force_image_size": SIZE,
        "ps_version": "v2",
        "select_layer": -1,
        "llm_config": TEXT | {"model_type": "qwen2"},
        "vision_config": vision,
    }
    state = drawn(prefixed("vision_model.", shapes) | rest, seed=seed, dtype=torch.bfloat16)
    return Tiny(family, config, state, "vision_model.")


def sail_vl() -> Tiny:
    """BytedanceDouyinContent/SAIL-VL-2B."""
    return chat(INTERNVIT, internvit_shapes(), "internvit", seed=7)


def sail_vl_15() -> Tiny:
    """BytedanceDouyinContent/SAIL-VL-1d5-2B, whose tower is an AIMv2."""
    return chat(AIMV2, aimv2_shapes(), "aimv2", seed=11)


def paligemma() -> Tiny:
    """google/paligemma-3b-pt-224, which has no pooling head."""
    prefix = "vision_tower.vision_model."
    shapes = prefixed(prefix, clip_shapes(cls=False)) | language_model(
        "language_model.model.", "", False
    )
    shapes |= linear("multi_modal_projector.linear", LLM, WIDTH)
    config = {
        "model_type": "paligemma",
        "architectures": ["PaliGemmaForConditionalGeneration"],
        "image_token_index": 60,
        "projection_dim": LLM,
        "hidden_size": LLM,
        "text_config": TEXT | {"model_type": "gemma", "head_dim": LLM // 2},
        "vision_config": SIGLIP_VISION | {"projection_dim": LLM, "vision_use_head": False},
    }
    return Tiny("siglip", config, drawn(shapes, seed=13), prefix)


def qwen3_vl() -> Tiny:
    """Qwen/Qwen3-VL-2B-Instruct."""
    patch = 16
    shapes: Shapes = {
        "patch_embed.proj.weight": (WIDTH, 3, 2, patch, patch),
        "patch_embed.proj.bias": (WIDTH,),
        "pos_embed.weight": (CELLS, WIDTH),
    }
    for i in range(DEPTH):
        block = f"blocks.{i}"
        shapes |= norm(f"{block}.norm1") | norm(f"{block}.norm2")
        shapes |= linear(f"{block}.attn.qkv", 3 * WIDTH, WIDTH)
        shapes |= linear(f"{block}.attn.proj", WIDTH, WIDTH)
        shapes |= linear(f"{block}.mlp.linear_fc1", MLP, WIDTH)
        shapes |= linear(f"{block}.mlp.linear_fc2", WIDTH, MLP)
    for merger, width in (("merger", WIDTH), ("deepstack_merger_list.0", 4 * WIDTH)):
        shapes |= norm(f"{merger}.norm", width)
        shapes |= linear(f"{merger}.linear_fc1", 4 * WIDTH, 4 * WIDTH)
        shapes |= linear(f"{merger}.linear_fc2", LLM, 4 * WIDTH)
    text = language_model("model.language_model.", "lm_head.weight", False)
    text |= norm("model.language_model.layers.0.self_attn.q_norm", LLM // 2, bias=False)
    text |= norm("model.language_model.layers.0.self_attn.k_norm", LLM // 2, bias=False)
    rope = {"rope_type": "default", "mrope_section": [2, 2, 2], "mrope_interleaved": True}
    config = {
        "model_type": "qwen3_vl",
        "architectures": ["Qwen3VLForConditionalGeneration"],
        "tie_word_embeddings": False,
        "text_config": TEXT
        | {"model_type": "qwen3_vl_text", "head_dim": LLM // 2, "rope_scaling": rope},
        "vision_config": {
            "model_type": "qwen3_vl",
            "depth": DEPTH,
            "hidden_size": WIDTH,
            "intermediate_size": MLP,
            "num_heads": HEADS,
            "hidden_act": "gelu_pytorch_tanh",
            "in_channels": 3,
            "patch_size": patch,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "num_position_embeddings": CELLS,
            "out_hidden_size": LLM,
            "deepstack_visual_indexes": [1],
        },
    }
    state = drawn(prefixed("model.visual.", shapes) | text, seed=15)
    return Tiny("qwen3_vl", config, state, "model.visual.")


def qwen2_5_vl() -> Tiny:
    """Qwen/Qwen2.5-VL-3B-Instruct, with windows of 2 x 2 cells."""
    shapes: Shapes = {"patch_embed.proj.weight": (WIDTH, 3, 2, PATCH, PATCH)}
    for i in range(DEPTH):
        block = f"blocks.{i}"
        shapes |= norm(f"{block}.norm1", bias=False) | norm(f"{block}.norm2", bias=False)
        shapes |= linear(f"{block}.attn.qkv", 3 * WIDTH, WIDTH)
        shapes |= linear(f"{block}.attn.proj", WIDTH, WIDTH)
        shapes |= linear(f"{block}.mlp.gate_proj", MLP, WIDTH)
        shapes |= linear(f"{block}.mlp.up_proj", MLP, WIDTH)
        shapes |= linear(f"{block}.mlp.down_proj", WIDTH, MLP)
    shapes |= norm("merger.ln_q", bias=False) | linear("merger.mlp.0", 4 * WIDTH, 4 * WIDTH)
    shapes |= linear("merger.mlp.2", LLM, 4 * WIDTH)
    shapes = prefixed("visual.", shapes) | language_model("model.", "lm_head.weight", True)
    rope = {"type": "mrope", "mrope_section": [2, 2, 2]}
    config = TEXT | {
        "model_type": "qwen2_5_vl",
        "architectures": ["Qwen2_5_VLForConditionalGeneration"],
        "hidden_act": "silu",
        "rope_theta": 1e6,
        "rope_scaling": rope,
        "tie_word_embeddings": False,
        "vision_config": {
            "model_type": "qwen2_5_vl",
            "depth": DEPTH,
            "hidden_size": WIDTH,
            "intermediate_size": MLP,
            "num_heads": HEADS,
            "hidden_act": "silu",
            "in_chans": 3,
            "patch_size": PATCH,
            "spatial_merge_size": 2,
            "spatial_patch_size": PATCH,
            "temporal_patch_size": 2,
            "window_size": 2 * PATCH,
            "out_hidden_size": LLM,
            "fullatt_block_indexes": [1],
        },
    }
    return Tiny("qwen2_5_vl", config, drawn(shapes, seed=16), "visual.")
