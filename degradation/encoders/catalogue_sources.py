"""Rows of the catalogue: encoders before, and for reference. Fields: see `catalogue_row`.

Parameter counts are computed from the architectures.
"""

from dataclasses import replace

from degradation.encoders.catalogue_row import EncoderRow
from degradation.geometry import Geometry

__all__ = ["AIMV2_HUGE_448", "CLIP_L_336", "DFN_H_378", "INTERNVIT_300M", "ROWS", "SIGLIP_224"]

CLIP_L_336 = EncoderRow(
    name="clip-l-336",
    repo="openai/clip-vit-large-patch14-336",
    family="clip",
    lineage="OpenAI CLIP ViT-L/14, contrastive on 400 M image-text pairs, last epoch at 336 px.",
    source="Radford et al. 2021, arXiv 2103.00020",
    sure="confirmed",
    parameters=303_505_408,
    dtype="float32",
    activation="quick_gelu",
    blocks=24,
    width=1024,
    patch=14,
    size=336,
    native=Geometry("short-crop"),
    licence="MIT (openai/CLIP; the hub card states none)",
    download=1_710_000_000,
    notes="A pickle; a copy as safetensors is read in part. The encoder that SocialFusion freezes.",
)

DFN_H_378 = EncoderRow(
    name="dfn-h-378",
    repo="apple/DFN5B-CLIP-ViT-H-14-378",
    family="clip",
    lineage="DFN CLIP ViT-H/14, contrastive on 5 B filtered pairs at 224 px, then at 378 px.",
    source="Fang et al. 2023, arXiv 2309.17425; model card",
    sure="confirmed",
    parameters=631_368_960,
    dtype="float32",
    activation="quick_gelu",
    blocks=32,
    width=1280,
    patch=14,
    size=378,
    native=Geometry("squash"),  # open_clip's resize_mode for the tag dfn5b
    licence="apple-amlr (research only; apple-sample-code before 2025)",
    download=3_950_000_000,
)

INTERNVIT_300M = EncoderRow(
    name="internvit-300m",
    repo="OpenGVLab/InternViT-300M-448px",
    family="internvit",
    lineage=(
        "Distilled from InternViT-6B-448px-V1-5, which was trained inside a vision-language model: "
        "not naive of language."
    ),
    source="model card",
    sure="secondary",
    parameters=304_012_288,
    dtype="bfloat16",
    activation="gelu",
    blocks=24,
    width=1024,
    patch=14,
    size=448,
    native=Geometry("squash"),  # as each tile, of which a single picture is one
    licence="MIT",
)

AIMV2_HUGE_448 = EncoderRow(
    name="aimv2-huge-448",
    repo="apple/aimv2-huge-patch14-448",
    family="aimv2",
    lineage="AIMv2 ViT-H/14: trained to predict pixels and then the caption, autoregressively.",
    source="Fini et al. 2024, arXiv 2411.14402; model card",
    sure="confirmed",
    parameters=682_030_080,
    dtype="float32",
    activation="swiglu",
    blocks=24,
    width=1536,
    patch=14,
    size=448,
    native=Geometry("short-crop"),
    licence="apple-amlr (research only)",
    notes="Not naive of language: captions are part of its training.",
)

SIGLIP_224 = EncoderRow(
    name="siglip-so400m-224",
    repo="google/siglip-so400m-patch14-224",
    family="siglip",
    lineage="SigLIP So400m/14: sigmoid loss on WebLI image-text pairs at 224 px.",
    source="Zhai et al. 2023, arXiv 2303.15343; model card",
    sure="confirmed",
    parameters=412_440_048,
    dtype="float32",
    activation="gelu_tanh",
    blocks=27,
    width=1152,
    patch=14,
    size=224,
    native=Geometry("squash"),
    licence="Apache-2.0",
)

_SIGLIP2_384 = replace(
    SIGLIP_224,
    name="siglip2",
    repo="google/siglip2-so400m-patch14-384",
    lineage="SigLIP 2 So400m/14 at 384 px: sigmoid loss, captioning decoder and self-distillation.",
    source="Tschannen et al. 2025, arXiv 2502.14786; model card",
    parameters=412_984_944,
    size=378,  # 27 whole patches; the last 6 of 384 pixels are never seen
    native=Geometry("squash", filter="bilinear"),  # SigLIP's own is bicubic
)


def _siglip2_patch16(model: str, size: int, parameters: int, blocks: int, width: int) -> EncoderRow:
    """A SigLIP 2 tower with patches of 16 pixels, from which Qwen3-VL may have started."""
    return replace(
        _SIGLIP2_384,
        name=f"siglip2-{model}-{size}",
        repo=f"google/siglip2-{model}-patch16-{size}",
        lineage=f"SigLIP 2 {model}/16 at {size} px: sigmoid loss, captioning, self-distillation.",
        parameters=parameters,
        blocks=blocks,
        width=width,
        patch=16,
        size=size,
    )


_DINOV2 = EncoderRow(
    name="dinov2",
    repo="facebook/dinov2-large",
    family="dinov2",
    lineage="DINOv2 ViT-L/14: self-supervised on 142 M pictures, no text at all.",
    source="Oquab et al. 2023, arXiv 2304.07193; model card",
    sure="confirmed",
    parameters=304_365_568,
    dtype="float32",
    activation="gelu",
    blocks=24,
    width=1024,
    patch=14,
    size=518,
    # Its processor's; the table is that of 518, so that it needs --positions bicubic.
    native=Geometry("short-crop", 224, crop_pct=0.875),
    licence="Apache-2.0",
    notes="A reference without language. An encoder that SocialFusion freezes.",
)

ROWS: tuple[EncoderRow, ...] = (
    CLIP_L_336,
    DFN_H_378,
    replace(
        DFN_H_378,
        name="dfn-h-224",
        repo="apple/DFN5B-CLIP-ViT-H-14",
        lineage="DFN CLIP ViT-H/14, contrastive on 5 B filtered pairs at 224 px.",
        parameters=630_763_520,
        size=224,
    ),
    INTERNVIT_300M,
    replace(
        INTERNVIT_300M,
        name="internvit-300m-v2.5",
        repo="OpenGVLab/InternViT-300M-448px-V2_5",
        lineage="InternViT-300M-448px trained on with next-token loss: not naive of language.",
    ),
    AIMV2_HUGE_448,
    replace(
        AIMV2_HUGE_448,
        name="sailvit-huge-448",
        repo="BytedanceDouyinContent/SAILViT-Huge-600M-448px",
        lineage="AIMv2-Huge refined in three stages with a language model attached.",
        native=Geometry("squash"),  # tiles, as in SAIL-VL
        source="model card of SAILViT",
        sure="secondary",
        licence="see the model card",
        notes="The middle point of the chain AIMv2, SAILViT, SAIL-VL-1.5. Dtype on disk unchecked.",
    ),
    SIGLIP_224,
    replace(
        SIGLIP_224,
        name="siglip-so400m-384",
        repo="google/siglip-so400m-patch14-384",
        lineage="SigLIP So400m/14: sigmoid loss on WebLI image-text pairs at 384 px.",
        parameters=412_984_944,
        size=378,  # as for siglip2
    ),
    _SIGLIP2_384,
    _siglip2_patch16("large", 512, 304_145_408, 24, 1024),
    _siglip2_patch16("large", 384, 303_686_656, 24, 1024),
    _siglip2_patch16("large", 256, 303_358_976, 24, 1024),
    _siglip2_patch16("so400m", 512, 413_532_144, 27, 1152),
    _siglip2_patch16("so400m", 384, 413_016_048, 27, 1152),
    _siglip2_patch16("so400m", 256, 412_647_408, 27, 1152),
    _DINOV2,
)
