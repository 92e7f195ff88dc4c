"""Rows of the catalogue: towers out of vision-language models. Fields: see `catalogue_row`.

Parameter counts are computed from the architectures, dtypes are those of the files on the hub.
"""

from dataclasses import replace

from degradation.encoders.catalogue_row import EncoderRow
from degradation.encoders.catalogue_sources import (
    AIMV2_HUGE_448,
    CLIP_L_336,
    DFN_H_378,
    INTERNVIT_300M,
    SIGLIP_224,
)
from degradation.geometry import Geometry

__all__ = ["ROWS"]

_QWEN2_VL = EncoderRow(
    name="qwen2-vl:post",
    repo="Qwen/Qwen2-VL-2B-Instruct",
    family="qwen2_vl",
    lineage="DFN ViT-H/14 with axial RoPE in place of its positions, trained inside Qwen2-VL.",
    source="Wang et al. 2024, arXiv 2409.12191",
    sure="secondary",
    parameters=631_183_360,
    dtype="bfloat16",
    activation="quick_gelu",
    blocks=32,
    width=1280,
    patch=14,
    size=378,
    native=Geometry("native"),
    licence="Apache-2.0",
    notes="No positional table: any side that is a multiple of 14. The merger is not read.",
)

_MOLMOE = EncoderRow(
    name="molmoe:post",
    repo="allenai/MolmoE-1B-0924",
    family="molmo",
    lineage="CLIP ViT-L/14-336 trained inside MolmoE-1B on captions, then on many tasks.",
    source="allenai/molmo README; Deitke et al. 2024, arXiv 2409.17146",
    sure="confirmed",
    parameters=290_909_184,
    dtype="float32",
    activation="quick_gelu",
    blocks=23,
    width=1024,
    patch=14,
    size=336,
    native=Geometry("pad", filter="bilinear-float"),
    licence="Apache-2.0",
    notes="Stores 23 of CLIP's 24 blocks; the language model reads blocks 21 and 14 only.",
)

_SAIL_VL = replace(
    INTERNVIT_300M,
    name="sail-vl:post",
    repo="BytedanceDouyinContent/SAIL-VL-2B",
    lineage="InternViT-300M-448px trained inside SAIL-VL-2B.",
    source="model card; Dong et al. 2025, arXiv 2501.05952",
    licence="Apache-2.0",
    notes="One file of 4.18 GB, of which only the tower is fetched.",
)

_SAIL_VL_15_2B = replace(
    AIMV2_HUGE_448,
    name="sail-vl-1.5-2b:post",
    repo="BytedanceDouyinContent/SAIL-VL-1d5-2B",
    lineage="SAILViT-Huge, itself out of AIMv2-Huge, trained inside SAIL-VL-1.5-2B.",
    source="model cards of SAIL-VL-1d5-2B and of SAILViT",
    sure="secondary",
    dtype="bfloat16",
    native=Geometry("squash"),
    licence="Apache-2.0",
    notes="Normalised with ImageNet's statistics in its sample code, AIMv2 with those of CLIP.",
)

_LLAVA_15 = replace(
    CLIP_L_336,
    name="llava-1.5:post",
    repo="llava-hf/llava-1.5-7b-hf",
    lineage="CLIP ViT-L/14-336, kept frozen inside LLaVA-1.5.",
    source="haotian-liu/LLaVA, clip_encoder.py: requires_grad_(False)",
    dtype="float16",
    licence="Llama 2 Community",
    download=None,
    notes=(
        "Stored as float16: equal to CLIP up to that rounding. Its own code pads with the mean "
        "colour; its native geometry here is the centre crop of the processor in this repository."
    ),
)

_PALIGEMMA = replace(
    SIGLIP_224,
    name="paligemma:post",
    repo="google/paligemma-3b-pt-224",
    lineage="SigLIP So400m/14 trained end to end inside PaliGemma at 224 px.",
    source="Beyer et al. 2024, arXiv 2407.07726",
    sure="secondary",
    licence="Gemma terms",
    gated=True,
)

_INTERNVL2 = replace(
    INTERNVIT_300M,
    name="internvl2:post",
    repo="OpenGVLab/InternVL2-2B",
    lineage="InternViT-300M-448px trained inside InternVL2-2B.",
    source="model card, base_model",
    licence="MIT",
)

_QWEN25_VL = EncoderRow(
    name="qwen2.5-vl:post",
    repo="Qwen/Qwen2.5-VL-3B-Instruct",
    family="qwen2_5_vl",
    lineage="Trained from scratch for Qwen2.5-VL: there is no public encoder before.",
    source="Bai et al. 2025, arXiv 2502.13923",
    sure="secondary",
    parameters=631_975_680,
    dtype="bfloat16",
    activation="swiglu",
    blocks=32,
    width=1280,
    patch=14,
    size=448,
    native=Geometry("native"),
    licence="Qwen Research (no commercial use)",
    notes="Window attention, RMSNorm, SwiGLU. An encoder without a pair.",
)

_QWEN3_VL = EncoderRow(
    name="qwen3-vl:post",
    repo="Qwen/Qwen3-VL-2B-Instruct",
    family="qwen3_vl",
    lineage="SigLIP 2 Large with axial RoPE and interpolated positions, trained inside Qwen3-VL.",
    source="Qwen3-VL report, arXiv 2511.21631",
    sure="secondary",
    parameters=306_242_560,
    dtype="bfloat16",
    activation="gelu_tanh",
    blocks=24,
    width=1024,
    patch=16,
    size=768,
    native=Geometry("native", min_pixels=65_536, max_pixels=16_777_216, multiple=32),
    licence="Apache-2.0",
    notes="Interpolates its table to any grid. Shallower blocks are read too (DeepStack).",
)

ROWS: tuple[EncoderRow, ...] = (
    _QWEN2_VL,
    replace(_QWEN2_VL, name="qwen2-vl-2b-base:post", repo="Qwen/Qwen2-VL-2B"),
    replace(_QWEN2_VL, name="qwen2-vl-7b:post", repo="Qwen/Qwen2-VL-7B-Instruct"),
    replace(_QWEN2_VL, name="qwen2-vl-7b-base:post", repo="Qwen/Qwen2-VL-7B"),
    _MOLMOE,
    replace(
        _MOLMOE,
        name="molmo-7b-d:post",
        repo="allenai/Molmo-7B-D-0924",
        lineage="CLIP ViT-L/14-336 trained inside Molmo-7B-D on captions, then on many tasks.",
    ),
    replace(
        _MOLMOE,
        name="molmo-7b-o:post",
        repo="allenai/Molmo-7B-O-0924",
        lineage="CLIP ViT-L/14-336 trained inside Molmo-7B-O on captions, then on many tasks.",
    ),
    replace(
        _MOLMOE,
        name="molmo-72b:post",
        repo="allenai/Molmo-72B-0924",
        lineage="CLIP ViT-L/14-336 trained inside Molmo-72B on captions, then on many tasks.",
    ),
    _SAIL_VL,
    replace(
        _SAIL_VL,
        name="sail-vl-8b:post",
        repo="BytedanceDouyinContent/SAIL-VL-8B",
        lineage="InternViT-300M-448px trained inside SAIL-VL-8B.",
        notes="",
    ),
    replace(
        _SAIL_VL,
        name="sail-vl-1.5-8b:post",
        repo="BytedanceDouyinContent/SAIL-VL-1d5-8B",
        lineage="InternViT-300M-448px trained inside SAIL-VL-1.5-8B.",
        notes="Unlike the 2B of the same version, which has SAILViT.",
    ),
    _SAIL_VL_15_2B,
    replace(
        _SAIL_VL_15_2B,
        name="sail-vl-1.6-8b:post",
        repo="BytedanceDouyinContent/SAIL-VL-1d6-8B",
        lineage="SAILViT-Huge, itself out of AIMv2-Huge, trained inside SAIL-VL-1.6-8B.",
    ),
    replace(
        _SAIL_VL_15_2B,
        name="sail-vl2-2b:post",
        repo="BytedanceDouyinContent/SAIL-VL2-2B",
        lineage="SAILViT-Huge, itself out of AIMv2-Huge, trained inside SAIL-VL2-2B.",
        source="model card",
        notes="Pixel statistics unchecked. The -Thinking variant is named with @.",
    ),
    replace(
        _SAIL_VL_15_2B,
        name="sail-vl2-8b:post",
        repo="BytedanceDouyinContent/SAIL-VL2-8B",
        lineage="SAILViT-Huge, itself out of AIMv2-Huge, trained inside SAIL-VL2-8B.",
        source="model card",
        notes="Pixel statistics unchecked. The -Thinking variant is named with @.",
    ),
    _LLAVA_15,
    replace(
        _LLAVA_15,
        name="llava-1.6:post",
        repo="llava-hf/llava-v1.6-vicuna-7b-hf",
        lineage="CLIP ViT-L/14-336 inside LLaVA-1.6, where it may have been trained.",
        source="haotian-liu/LLaVA issues 1214 and 1537: unfreeze_mm_vision_tower in config.json",
        sure="inferred",
        native=Geometry("squash"),  # the whole picture beside the tiles
        notes="Whether it was trained is open; `sdiag provenance --model llava-1.6` tells.",
    ),
    replace(
        DFN_H_378,
        name="auroracap:post",
        repo="wchai/AuroraCap-7B-VID-xtuner",
        lineage="DFN ViT-H/14-378 trained inside AuroraCap-7B.",
        source="Chai et al. 2024, arXiv 2410.03051; files on the hub",
        sure="secondary",
        native=Geometry("short-crop"),  # a CLIP processor with sides of 378
        licence="Apache-2.0",
        files=("visual_encoder/model.safetensors.index.json",),
        download=None,
        notes="A second model out of the same encoder as Qwen2-VL; in a folder of its own.",
    ),
    _PALIGEMMA,
    replace(
        _PALIGEMMA,
        name="paligemma-448:post",
        repo="google/paligemma-3b-pt-448",
        lineage="SigLIP So400m/14 trained end to end inside PaliGemma at 448 px.",
        parameters=413_324_784,
        size=448,
    ),
    replace(
        _PALIGEMMA,
        name="paligemma-896:post",
        repo="google/paligemma-3b-pt-896",
        lineage="SigLIP So400m/14 trained end to end inside PaliGemma at 896 px.",
        parameters=416_863_728,
        size=896,
    ),
    _INTERNVL2,
    replace(
        _INTERNVL2,
        name="internvl2.5:post",
        repo="OpenGVLab/InternVL2_5-2B",
        lineage="InternViT-300M-448px-V2_5 trained inside InternVL2.5-2B.",
        source="model card",
    ),
    replace(
        _INTERNVL2,
        name="internvl3:post",
        repo="OpenGVLab/InternVL3-2B",
        lineage="InternViT-300M-448px-V2_5 trained inside InternVL3-2B.",
        sure="inferred",
        source="architecture; the card names the encoder without the version of its weights",
    ),
    _QWEN25_VL,
    replace(
        _QWEN25_VL,
        name="qwen2.5-vl-7b:post",
        repo="Qwen/Qwen2.5-VL-7B-Instruct",
        licence="Apache-2.0",
    ),
    _QWEN3_VL,
    replace(_QWEN3_VL, name="qwen3-vl-4b:post", repo="Qwen/Qwen3-VL-4B-Instruct"),
    replace(
        _QWEN3_VL,
        name="qwen3-vl-8b:post",
        repo="Qwen/Qwen3-VL-8B-Instruct",
        lineage="SigLIP 2 So400m with axial RoPE, positions interpolated, trained inside Qwen3-VL.",
        parameters=415_891_440,
        blocks=27,
        width=1152,
    ),
)
