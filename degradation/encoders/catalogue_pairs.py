"""Rows of the catalogue: the pairs. Fields: see `catalogue_row`."""

from dataclasses import replace

from degradation.encoders.catalogue_row import PairRow

__all__ = ["ROWS"]

_QWEN2_VL = PairRow(
    name="qwen2-vl",
    pre="dfn-h-378",
    post="qwen2-vl:post",
    lineage=(
        "DFN ViT-H/14 (378 px), its learned positions replaced by axial RoPE, trained in all "
        "stages but the last of Qwen2-VL-2B-Instruct."
    ),
    source=(
        "arXiv 2409.12191: the ViT derives from DFN; the shapes fit only ViT-H/14; 378 rather than "
        "224 is not stated anywhere"
    ),
    sure="inferred",
    block=31,
    size=378,
    candidates=("dfn-h-224",),
    notes="LayerNorm epsilon is 1e-5 before and 1e-6 after.",
)


def _qwen2_vl(model: str) -> PairRow:
    """The pair of another size or stage of Qwen2-VL; their towers are separate weights."""
    name = model.lower().removesuffix("-instruct") + ("" if "Instruct" in model else "-base")
    return replace(
        _QWEN2_VL,
        name=name,
        post=f"{name}:post",
        lineage=_QWEN2_VL.lineage.replace("Qwen2-VL-2B-Instruct", model),
    )


def _at_224(row: PairRow) -> PairRow:
    """The variant whose pre side is the tower before its stage at 378 px."""
    return replace(
        row,
        name=f"{row.name}-224",
        pre="dfn-h-224",
        lineage=row.lineage.replace("378", "224"),
        size=224,
        candidates=("dfn-h-378",),
    )


def _locked(instruct: str, base: str) -> PairRow:
    """The control pair of a base model and its instruction-tuned successor."""
    return PairRow(
        name=f"{instruct}-locked",
        pre=f"{base}:post",
        post=f"{instruct}:post",
        lineage="The last stage of Qwen2-VL tunes the language model and locks the tower.",
        source="arXiv 2409.12191 as quoted elsewhere",
        sure="secondary",
        block=31,
        size=378,
        expected_delta=0.0,
        same=("",),
        notes="A control: both sides should hold the same weights.",
    )


_QWEN2_VL_FAMILY = (
    _QWEN2_VL,
    _qwen2_vl("Qwen2-VL-2B"),
    _qwen2_vl("Qwen2-VL-7B-Instruct"),
    _qwen2_vl("Qwen2-VL-7B"),
)

_MOLMOE = PairRow(
    name="molmoe",
    pre="clip-l-336",
    post="molmoe:post",
    lineage="CLIP ViT-L/14-336 trained on inside MolmoE-1B, on captions and then on many tasks.",
    source="allenai/molmo README and launch scripts (ft_vit, learning rates 6e-6 and 5e-6)",
    sure="confirmed",
    block=21,
    size=336,
    same=("blocks.22.",),
    notes="Block 22 is stored but never read, so it got no gradient and should equal CLIP's.",
)


def _molmo(model: str) -> PairRow:
    """The pair of another Molmo: the same start, another language model."""
    return replace(
        _MOLMOE,
        name=model.lower(),
        post=f"{model.lower()}:post",
        lineage=_MOLMOE.lineage.replace("MolmoE-1B", model),
    )


_SAIL_VL = PairRow(
    name="sail-vl",
    pre="internvit-300m",
    post="sail-vl:post",
    lineage=(
        "InternViT-300M-448px trained on inside SAIL-VL-2B. Its start is not naive of language: "
        "it was distilled from a tower out of a vision-language model."
    ),
    source="model card of SAIL-VL-2B, which links this repository and not V2_5",
    sure="secondary",
    block=23,
    size=448,
    candidates=("internvit-300m-v2.5",),
)


def _sail_vl(name: str, model: str) -> PairRow:
    """The pair of another SAIL-VL that starts from InternViT."""
    return replace(
        _SAIL_VL,
        name=name,
        post=f"{name}:post",
        lineage=_SAIL_VL.lineage.replace("SAIL-VL-2B", model),
        source=f"model table in the card of {model}",
    )


_AIMV2_SAILVIT = PairRow(
    name="sailvit",
    pre="aimv2-huge-448",
    post="sailvit-huge-448",
    lineage=(
        "AIMv2-Huge refined into SAILViT-Huge in three stages with a language model attached: the "
        "first step of the chain AIMv2, SAILViT, SAIL-VL-1.5. AIMv2 is not naive of language."
    ),
    source="model card of SAILViT",
    sure="secondary",
    block=23,
    size=448,
)


def _sailvit_model(name: str, model: str) -> tuple[PairRow, PairRow]:
    """The pairs of a model with SAILViT: from the root of the chain, and from its middle."""
    whole = replace(
        _AIMV2_SAILVIT,
        name=name,
        post=f"{name}:post",
        lineage=(
            f"AIMv2-Huge by way of SAILViT-Huge, trained on inside {model}: both steps of the "
            "chain. AIMv2 is not naive of language."
        ),
        source=f"model cards of {model} and of SAILViT",
        candidates=("sailvit-huge-448",),
    )
    last = replace(
        whole,
        name=f"{name}-from-sailvit",
        pre="sailvit-huge-448",
        lineage=f"SAILViT-Huge trained on inside {model}: the second step of the chain.",
        candidates=("aimv2-huge-448",),
    )
    return whole, last


_PALIGEMMA = PairRow(
    name="paligemma",
    pre="siglip-so400m-224",
    post="paligemma:post",
    lineage="SigLIP So400m/14 trained on inside PaliGemma, no part frozen.",
    source="arXiv 2407.07726; which SigLIP file it started from is not stated",
    sure="inferred",
    block=26,
    size=224,
    candidates=("siglip-so400m-384",),
)


def _paligemma(size: int) -> PairRow:
    """PaliGemma at a higher resolution, whose positional table is larger than that before."""
    return replace(
        _PALIGEMMA,
        name=f"paligemma-{size}",
        post=f"paligemma-{size}:post",
        notes=f"Native at {size} px; compared at 224 px, positions resized as the protocol says.",
    )


_INTERNVL2 = PairRow(
    name="internvl2",
    pre="internvit-300m",
    post="internvl2:post",
    lineage="InternViT-300M-448px trained on inside InternVL2-2B; it was not naive of language.",
    source="model card, base_model",
    sure="secondary",
    block=23,
    size=448,
    candidates=("internvit-300m-v2.5",),
)


def _internvl(name: str, model: str, source: str) -> PairRow:
    """A later InternVL, which starts from the second version of the encoder."""
    return replace(
        _INTERNVL2,
        name=name,
        pre="internvit-300m-v2.5",
        post=f"{name}:post",
        lineage=(
            f"InternViT-300M-448px-V2_5 trained on inside {model}; its start is not naive of "
            "language."
        ),
        source=source,
        sure="secondary" if source == "model card" else "inferred",
        candidates=("internvit-300m",),
    )


def _qwen3_vl(name: str, model: str, encoder: str, block: int) -> PairRow:
    """A Qwen3-VL and the SigLIP 2 it started from, whose resolution is not stated."""
    return PairRow(
        name=name,
        pre=f"siglip2-{encoder}-512",
        post=f"{name}:post",
        lineage=(
            f"SigLIP 2 {encoder} with axial RoPE added and positions interpolated, trained on "
            f"inside {model}."
        ),
        source="arXiv 2511.21631: initialised from official checkpoints; which size is not stated",
        sure="inferred",
        block=block,
        size=512,
        candidates=(f"siglip2-{encoder}-384", f"siglip2-{encoder}-256"),
    )


_LLAVA_15 = PairRow(
    name="llava-1.5",
    pre="clip-l-336",
    post="llava-1.5:post",
    lineage="CLIP ViT-L/14-336, kept frozen while LLaVA-1.5 was trained.",
    source="haotian-liu/LLaVA, clip_encoder.py: requires_grad_(False)",
    sure="confirmed",
    block=22,
    size=336,
    expected_delta=0.0,
    same=("",),
    notes="The control: what this pair shows is the noise floor of the measurement.",
)

ROWS: tuple[PairRow, ...] = (
    *_QWEN2_VL_FAMILY,
    *map(_at_224, _QWEN2_VL_FAMILY),
    _locked("qwen2-vl", "qwen2-vl-2b-base"),
    _locked("qwen2-vl-7b", "qwen2-vl-7b-base"),
    _MOLMOE,
    *map(_molmo, ("Molmo-7B-D", "Molmo-7B-O", "Molmo-72B")),
    _SAIL_VL,
    _sail_vl("sail-vl-8b", "SAIL-VL-8B"),
    _sail_vl("sail-vl-1.5-8b", "SAIL-VL-1.5-8B"),
    _AIMV2_SAILVIT,
    *_sailvit_model("sail-vl-1.5-2b", "SAIL-VL-1.5-2B"),
    *_sailvit_model("sail-vl-1.6-8b", "SAIL-VL-1.6-8B"),
    *_sailvit_model("sail-vl2-2b", "SAIL-VL2-2B"),
    *_sailvit_model("sail-vl2-8b", "SAIL-VL2-8B"),
    _LLAVA_15,
    replace(
        _LLAVA_15,
        name="llava-1.6",
        post="llava-1.6:post",
        lineage="CLIP ViT-L/14-336 inside LLaVA-1.6, where it may have been trained.",
        source="haotian-liu/LLaVA issues 1214 and 1537: unfreeze_mm_vision_tower in config.json",
        sure="inferred",
        expected_delta=None,
        same=(),
        notes="Run `sdiag provenance --model llava-1.6` first: if frozen, it is a control.",
    ),
    replace(
        _QWEN2_VL,
        name="auroracap",
        post="auroracap:post",
        lineage="DFN ViT-H/14-378 trained on inside AuroraCap-7B.",
        source="arXiv 2410.03051; configuration on the hub",
        sure="secondary",
        block=30,
        candidates=("dfn-h-224",),
        notes="The language model reads the last block but one (visual_select_layer -2, inferred).",
    ),
    _PALIGEMMA,
    _paligemma(448),
    _paligemma(896),
    _INTERNVL2,
    _internvl("internvl2.5", "InternVL2.5-2B", "model card"),
    _internvl("internvl3", "InternVL3-2B", "architecture"),
    _qwen3_vl("qwen3-vl", "Qwen3-VL-2B", "large", 23),
    _qwen3_vl("qwen3-vl-4b", "Qwen3-VL-4B", "large", 23),
    _qwen3_vl("qwen3-vl-8b", "Qwen3-VL-8B", "so400m", 26),
)
