"""Encoders outside of language models, in the formats of the hub."""

import torch
from tiny_checkpoints import (
    CELLS,
    DEPTH,
    HEADS,
    LLM,
    MLP,
    PATCH,
    SIZE,
    VOCABULARY,
    WIDTH,
    Shapes,
    Tiny,
    drawn,
    linear,
    norm,
    prefixed,
)


def clip_shapes(depth: int = DEPTH, *, cls: bool = True) -> Shapes:
    """A CLIP tower on the hub, or with cls=False a SigLIP tower."""
    shapes: Shapes = {"embeddings.class_embedding": (WIDTH,)} if cls else {}
    shapes |= {
        "embeddings.patch_embedding.weight": (WIDTH, 3, PATCH, PATCH),
        "embeddings.position_embedding.weight": (CELLS + cls, WIDTH),
    }
    shapes |= norm("pre_layrnorm") if cls else {"embeddings.patch_embedding.bias": (WIDTH,)}
    for i in range(depth):
        layer = f"encoder.layers.{i}"
        for part in ("k_proj", "v_proj", "q_proj", "out_proj"):
            shapes |= linear(f"{layer}.self_attn.{part}", WIDTH, WIDTH)
        shapes |= norm(f"{layer}.layer_norm1")
        shapes |= linear(f"{layer}.mlp.fc1", MLP, WIDTH)
        shapes |= linear(f"{layer}.mlp.fc2", WIDTH, MLP)
        shapes |= norm(f"{layer}.layer_norm2")
    return shapes | norm("post_layernorm")


CLIP_VISION = {
    "model_type": "clip_vision_model",
    "hidden_size": WIDTH,
    "intermediate_size": MLP,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": HEADS,
    "image_size": SIZE,
    "patch_size": PATCH,
    "projection_dim": 16,
}


def clip() -> Tiny:
    """openai/clip-vit-large-patch14-336: a whole CLIP, with the old buffer of position numbers."""
    shapes = prefixed("vision_model.", clip_shapes())
    shapes |= {"visual_projection.weight": (16, WIDTH), "text_projection.weight": (16, LLM)}
    shapes |= {"logit_scale": (), "text_model.final_layer_norm.weight": (LLM,)}
    numbers = torch.arange(CELLS + 1)[None]
    state = drawn(shapes, seed=1) | {"vision_model.embeddings.position_ids": numbers}
    config = {
        "model_type": "clip",
        "architectures": ["CLIPModel"],
        "projection_dim": 16,
        "text_config": {"model_type": "clip_text_model", "hidden_size": LLM},
        "vision_config": CLIP_VISION | {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5},
    }
    return Tiny("clip", config, state, "vision_model.")


def clip_tower() -> Tiny:
    """A CLIP tower alone, as AuroraCap's visual_encoder."""
    config = CLIP_VISION | {"hidden_act": "gelu", "layer_norm_eps": 1e-5}
    state = drawn(prefixed("vision_model.", clip_shapes()), seed=2, dtype=torch.bfloat16)
    return Tiny("clip", config, state, "vision_model.")


def open_clip() -> Tiny:
    """apple/DFN5B-CLIP-ViT-H-14-378 in open_clip's format."""
    shapes: Shapes = {
        "visual.class_embedding": (WIDTH,),
        "visual.positional_embedding": (CELLS + 1, WIDTH),
        "visual.proj": (WIDTH, 16),
        "visual.conv1.weight": (WIDTH, 3, PATCH, PATCH),
    }
    shapes |= norm("visual.ln_pre") | norm("visual.ln_post")
    for i in range(DEPTH):
        block = f"visual.transformer.resblocks.{i}"
        shapes |= norm(f"{block}.ln_1") | norm(f"{block}.ln_2")
        shapes |= {f"{block}.attn.in_proj_weight": (3 * WIDTH, WIDTH)}
        shapes |= {f"{block}.attn.in_proj_bias": (3 * WIDTH,)}
        shapes |= linear(f"{block}.attn.out_proj", WIDTH, WIDTH)
        shapes |= linear(f"{block}.mlp.c_fc", 2 * WIDTH, WIDTH)
        shapes |= linear(f"{block}.mlp.c_proj", WIDTH, 2 * WIDTH)
    shapes |= {"positional_embedding": (77, LLM), "text_projection": (LLM, 16), "logit_scale": ()}
    shapes |= {"token_embedding.weight": (VOCABULARY, LLM)} | norm("ln_final", LLM)
    config = {
        "model_cfg": {
            "embed_dim": 16,
            "quick_gelu": True,
            "vision_cfg": {
                "image_size": SIZE,
                "layers": DEPTH,
                "width": WIDTH,
                "head_width": WIDTH // HEADS,
                "patch_size": PATCH,
                "mlp_ratio": 2.0,
            },
            "text_cfg": {
                "context_length": 77,
                "vocab_size": VOCABULARY,
                "width": LLM,
                "heads": 2,
                "layers": 1,
            },
        },
        "preprocess_cfg": {
            "mean": [0.48145466, 0.4578275, 0.40821073],
            "std": [0.26862954, 0.26130258, 0.27577711],
        },
    }
    state = drawn(shapes, seed=3)
    return Tiny("open_clip", config, state, "visual.", config_name="open_clip_config.json")


INTERNVIT = {
    "model_type": "intern_vit_6b",
    "architectures": ["InternVisionModel"],
    "hidden_size": WIDTH,
    "intermediate_size": MLP,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": HEADS,
    "image_size": SIZE,
    "patch_size": PATCH,
    "num_channels": 3,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-6,
    "norm_type": "layer_norm",
    "qk_normalization": False,
    "qkv_bias": True,
}


def internvit_shapes() -> Shapes:
    shapes: Shapes = {
        "embeddings.class_embedding": (1, 1, WIDTH),
        "embeddings.position_embedding": (1, CELLS + 1, WIDTH),
        "embeddings.patch_embedding.weight": (WIDTH, 3, PATCH, PATCH),
        "embeddings.patch_embedding.bias": (WIDTH,),
    }
    for i in range(DEPTH):
        layer = f"encoder.layers.{i}"
        shapes |= linear(f"{layer}.attn.qkv", 3 * WIDTH, WIDTH)
        shapes |= linear(f"{layer}.attn.proj", WIDTH, WIDTH)
        shapes |= norm(f"{layer}.norm1") | norm(f"{layer}.norm2")
        shapes |= linear(f"{layer}.mlp.fc1", MLP, WIDTH) | linear(f"{layer}.mlp.fc2", WIDTH, MLP)
        shapes |= {f"{layer}.ls1": (WIDTH,), f"{layer}.ls2": (WIDTH,)}
    return shapes


def internvit() -> Tiny:
    """OpenGVLab/InternViT-300M-448px, whose names have no prefix."""
    return Tiny("internvit", INTERNVIT, drawn(internvit_shapes(), seed=6), "")


AIMV2 = {
    "model_type": "aimv2",
    "architectures": ["AIMv2Model"],
    "hidden_size": WIDTH,
    "intermediate_size": MLP,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": HEADS,
    "num_channels": 3,
    "image_size": SIZE,
    "patch_size": PATCH,
    "rms_norm_eps": 1e-5,
    "qkv_bias": False,
    "use_bias": False,
}


def aimv2_shapes() -> Shapes:
    shapes: Shapes = {
        "preprocessor.pos_embed": (1, CELLS, WIDTH),
        "preprocessor.patchifier.proj.weight": (WIDTH, 3, PATCH, PATCH),
        "preprocessor.patchifier.proj.bias": (WIDTH,),
        "preprocessor.patchifier.norm.weight": (WIDTH,),
        "trunk.post_trunk_norm.weight": (WIDTH,),
    }
    for i in range(DEPTH):
        block = f"trunk.blocks.{i}"
        shapes |= linear(f"{block}.attn.qkv", 3 * WIDTH, WIDTH, bias=False)
        shapes |= linear(f"{block}.attn.proj", WIDTH, WIDTH, bias=False)
        shapes |= linear(f"{block}.mlp.fc1", MLP, WIDTH, bias=False)
        shapes |= linear(f"{block}.mlp.fc2", WIDTH, MLP, bias=False)
        shapes |= linear(f"{block}.mlp.fc3", MLP, WIDTH, bias=False)
        shapes |= norm(f"{block}.norm_1", bias=False) | norm(f"{block}.norm_2", bias=False)
    return shapes


def aimv2() -> Tiny:
    """apple/aimv2-huge-patch14-448 in Apple's names."""
    return Tiny("aimv2", AIMV2, drawn(aimv2_shapes(), seed=8), "")


def aimv2_converted() -> Tiny:
    """The same repository in the names of transformers."""
    shapes: Shapes = {
        "embeddings.patch_embed.weight": (WIDTH, 3, PATCH, PATCH),
        "embeddings.patch_embed.bias": (WIDTH,),
        "embeddings.rms_norm.weight": (WIDTH,),
        "embeddings.position_embedding.weight": (CELLS, WIDTH),
        "rms_norm.weight": (WIDTH,),
    }
    for i in range(DEPTH):
        layer = f"encoder.layers.{i}"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= linear(f"{layer}.attention.{part}", WIDTH, WIDTH, bias=False)
        shapes |= linear(f"{layer}.ffn.gate_proj", MLP, WIDTH, bias=False)
        shapes |= linear(f"{layer}.ffn.up_proj", MLP, WIDTH, bias=False)
        shapes |= linear(f"{layer}.ffn.down_proj", WIDTH, MLP, bias=False)
        shapes |= norm(f"{layer}.rms_norm1", bias=False) | norm(f"{layer}.rms_norm2", bias=False)
    config = AIMV2 | {
        "model_type": "aimv2_vision_model",
        "architectures": ["Aimv2VisionModel"],
        "hidden_act": "silu",
        "mlp_bias": False,
        "is_native": False,
        "use_head": False,
    }
    return Tiny("aimv2", config, drawn(shapes, seed=10), "")


SIGLIP_VISION = {
    "model_type": "siglip_vision_model",
    "hidden_size": WIDTH,
    "intermediate_size": MLP,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": HEADS,
    "image_size": SIZE,
    "patch_size": PATCH,
}


def siglip() -> Tiny:
    """google/siglip-so400m-patch14-384 and google/siglip2-so400m-patch14-384."""
    shapes = clip_shapes(cls=False) | {"head.probe": (1, 1, WIDTH)}
    shapes |= {"head.attention.in_proj_weight": (3 * WIDTH, WIDTH)}
    shapes |= {"head.attention.in_proj_bias": (3 * WIDTH,)}
    shapes |= linear("head.attention.out_proj", WIDTH, WIDTH) | norm("head.layernorm")
    shapes |= linear("head.mlp.fc1", MLP, WIDTH) | linear("head.mlp.fc2", WIDTH, MLP)
    shapes = prefixed("vision_model.", shapes) | {"logit_bias": (1,), "logit_scale": (1,)}
    shapes |= {"text_model.embeddings.token_embedding.weight": (VOCABULARY, WIDTH)}
    config = {
        "model_type": "siglip",
        "text_config": {"model_type": "siglip_text_model"},
        "vision_config": SIGLIP_VISION,
    }
    return Tiny("siglip", config, drawn(shapes, seed=12), "vision_model.")


def dinov2() -> Tiny:
    """facebook/dinov2-large."""
    shapes: Shapes = {
        "embeddings.cls_token": (1, 1, WIDTH),
        "embeddings.mask_token": (1, WIDTH),
        "embeddings.position_embeddings": (1, CELLS + 1, WIDTH),
        "embeddings.patch_embeddings.projection.weight": (WIDTH, 3, PATCH, PATCH),
        "embeddings.patch_embeddings.projection.bias": (WIDTH,),
    }
    for i in range(DEPTH):
        layer = f"encoder.layer.{i}"
        for part in ("query", "key", "value"):
            shapes |= linear(f"{layer}.attention.attention.{part}", WIDTH, WIDTH)
        shapes |= linear(f"{layer}.attention.output.dense", WIDTH, WIDTH)
        shapes |= norm(f"{layer}.norm1") | norm(f"{layer}.norm2")
        shapes |= linear(f"{layer}.mlp.fc1", 2 * WIDTH, WIDTH)
        shapes |= linear(f"{layer}.mlp.fc2", WIDTH, 2 * WIDTH)
        shapes |= {f"{layer}.layer_scale1.lambda1": (WIDTH,)}
        shapes |= {f"{layer}.layer_scale2.lambda1": (WIDTH,)}
    shapes |= norm("layernorm")
    config = {
        "model_type": "dinov2",
        "architectures": ["Dinov2Model"],
        "hidden_size": WIDTH,
        "mlp_ratio": 2,
        "num_hidden_layers": DEPTH,
        "num_attention_heads": HEADS,
        "image_size": SIZE,
        "patch_size": PATCH,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-6,
        "qkv_bias": True,
        "use_swiglu_ffn": False,
    }
    return Tiny("dinov2", config, drawn(shapes, seed=14), "")
