"""The catalogue: what it says of published encoders and pairs, and how names find it."""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import FrozenInstanceError, dataclass, field, fields, replace
from pathlib import Path

import pytest
import torch
import transformers
from transformers.models.qwen2_5_vl import configuration_qwen2_5_vl as qwen2_5
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import (
    Qwen2_5_VisionTransformerPretrainedModel,
)
from transformers.models.qwen2_vl import configuration_qwen2_vl as qwen2
from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VisionTransformerPretrainedModel
from transformers.models.qwen3_vl import configuration_qwen3_vl as qwen3
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLVisionModel

from degradation.encoders import catalogue, checkpoint, families
from degradation.encoders.catalogue import ENCODERS, PAIRS, canonical, find_encoder, find_pair
from degradation.encoders.catalogue_row import EncoderRow, PairRow
from degradation.encoders.encoder import EncoderInfo, Origin
from degradation.encoders.registry import get_pair, load_encoder, pair_of
from degradation.errors import ConfigError

DFN, DFN_224 = "apple/DFN5B-CLIP-ViT-H-14-378", "apple/DFN5B-CLIP-ViT-H-14"
CLIP = "openai/clip-vit-large-patch14-336"
INTERNVIT = "OpenGVLab/InternViT-300M-448px"
AIMV2, SAIL = "apple/aimv2-huge-patch14-448", "BytedanceDouyinContent/"
SAILVIT = f"{SAIL}SAILViT-Huge-600M-448px"

# Name of the pair, repository before, repository after, block that the language model reads.
REQUIRED = [
    ("qwen2-vl", DFN, "Qwen/Qwen2-VL-2B-Instruct", 31),
    ("qwen2-vl-2b-base", DFN, "Qwen/Qwen2-VL-2B", 31),
    ("qwen2-vl-7b", DFN, "Qwen/Qwen2-VL-7B-Instruct", 31),
    ("qwen2-vl-7b-base", DFN, "Qwen/Qwen2-VL-7B", 31),
    ("qwen2-vl-224", DFN_224, "Qwen/Qwen2-VL-2B-Instruct", 31),
    ("qwen2-vl-7b-224", DFN_224, "Qwen/Qwen2-VL-7B-Instruct", 31),
    ("molmoe", CLIP, "allenai/MolmoE-1B-0924", 21),
    ("molmo-7b-d", CLIP, "allenai/Molmo-7B-D-0924", 21),
    ("sail-vl", INTERNVIT, f"{SAIL}SAIL-VL-2B", 23),
    ("sail-vl-8b", INTERNVIT, f"{SAIL}SAIL-VL-8B", 23),
    ("sailvit", AIMV2, SAILVIT, 23),
    ("sail-vl-1.5-2b", AIMV2, f"{SAIL}SAIL-VL-1d5-2B", 23),
    ("sail-vl-1.5-2b-from-sailvit", SAILVIT, f"{SAIL}SAIL-VL-1d5-2B", 23),
    ("llava-1.5", CLIP, "llava-hf/llava-1.5-7b-hf", 22),
    ("llava-1.6", CLIP, "llava-hf/llava-v1.6-vicuna-7b-hf", 22),
    ("internvl2", INTERNVIT, "OpenGVLab/InternVL2-2B", 23),
    ("paligemma", "google/siglip-so400m-patch14-224", "google/paligemma-3b-pt-224", 26),
    ("qwen3-vl", "google/siglip2-large-patch16-512", "Qwen/Qwen3-VL-2B-Instruct", 23),
    ("auroracap", DFN, "wchai/AuroraCap-7B-VID-xtuner", 30),
]


@pytest.mark.parametrize(("name", "pre", "post", "block"), REQUIRED, ids=lambda value: str(value))
def test_required_pairs(name: str, pre: str, post: str, block: int) -> None:
    row = PAIRS[name]
    assert (ENCODERS[row.pre].repo, ENCODERS[row.post].repo, row.block) == (pre, post, block)
    pair = get_pair(name)
    assert (pair.name, pair.pre, pair.post, pair.block) == (name, row.pre, row.post, block)
    assert row.source in pair.source
    assert row.sure in pair.source


def test_required_encoders_without_a_pair() -> None:
    repos = {
        "dinov2": "facebook/dinov2-large",
        "siglip2": "google/siglip2-so400m-patch14-384",
        "qwen2.5-vl:post": "Qwen/Qwen2.5-VL-3B-Instruct",
    }
    assert {name: ENCODERS[name].repo for name in repos} == repos
    paired = {side for row in PAIRS.values() for side in (row.pre, row.post)}
    assert not paired & repos.keys()


def test_every_row_is_consistent() -> None:
    assert len({row.repo for row in ENCODERS.values()}) == len(ENCODERS)
    assert {row.family for row in ENCODERS.values()} <= families.FAMILIES.keys()
    for row in PAIRS.values():
        pre, post = ENCODERS[row.pre], ENCODERS[row.post]
        assert (pre.width, pre.patch) == (post.width, post.patch)
        assert 0 <= row.block < min(pre.blocks, post.blocks)
        assert row.size == pre.size or pre.family == post.family == "qwen2_vl"
        assert row.size % pre.patch == 0
        for name in row.candidates:
            assert ENCODERS[name].width == pre.width
            assert name not in (row.pre, row.post)
    for row in (*ENCODERS.values(), *PAIRS.values()):
        texts = (getattr(row, field.name) for field in fields(row))
        assert all(not text or text == text.strip() for text in texts if isinstance(text, str))
        assert row.lineage.endswith(".")
        assert row.source


def test_blocks_are_those_that_the_families_read_by_default() -> None:
    kinds = {"clip": "llava", "internvit": "internvl_chat", "aimv2": "internvl_chat"}
    for row in PAIRS.values():
        post = ENCODERS[row.post]
        config = {"model_type": kinds.get(post.family, post.family)}
        if row.name != "auroracap":  # whose tower has a configuration of its own
            assert families.FAMILIES[post.family].reads(config, post.blocks)[0] == row.block


def test_rows_are_plain_and_frozen() -> None:
    for row in (ENCODERS["dinov2"], PAIRS["molmoe"]):
        assert not hasattr(row, "__dict__")
        with pytest.raises(FrozenInstanceError):
            row.name = "x"


def test_controls_are_known_in_advance() -> None:
    known = {name: row.same for name, row in PAIRS.items() if row.expected_delta is not None}
    assert known == dict.fromkeys(("qwen2-vl-locked", "qwen2-vl-7b-locked", "llava-1.5"), ("",))
    assert all(PAIRS[name].expected_delta == 0 for name in known)
    assert {name for name, row in PAIRS.items() if row.same == ("blocks.22.",)} == {
        "molmoe",
        "molmo-7b-d",
        "molmo-7b-o",
        "molmo-72b",
    }


@pytest.mark.parametrize("name", ["sail-vl", "sail-vl-8b", "internvl2", "internvl2.5", "sailvit"])
def test_a_start_that_knew_language_is_said_to(name: str) -> None:
    assert "not naive of language" in PAIRS[name].lineage


def clip_tower(row: EncoderRow) -> torch.nn.Module:
    config = transformers.CLIPVisionConfig(
        hidden_size=row.width,
        num_hidden_layers=row.blocks,
        num_attention_heads=16,
        intermediate_size=4 * row.width,
        image_size=row.size,
        patch_size=row.patch,
    )
    return transformers.CLIPVisionModel(config)


def siglip_tower(row: EncoderRow) -> torch.nn.Module:
    config = transformers.SiglipVisionConfig(
        hidden_size=row.width,
        num_hidden_layers=row.blocks,
        num_attention_heads=16,
        intermediate_size={1152: 4304, 1024: 4096}[row.width],
        image_size=row.size,
        patch_size=row.patch,
    )
    return transformers.SiglipVisionModel(config)


def dinov2_tower(row: EncoderRow) -> torch.nn.Module:
    config = transformers.Dinov2Config(
        hidden_size=row.width,
        num_hidden_layers=row.blocks,
        num_attention_heads=16,
        image_size=row.size,
        patch_size=row.patch,
    )
    return transformers.Dinov2Model(config)


def internvit_tower(row: EncoderRow) -> torch.nn.Module:
    config = transformers.InternVLVisionConfig(
        attention_bias=True, use_mean_pooling=True, image_size=row.size
    )
    return transformers.InternVLVisionModel(config)


def aimv2_tower(row: EncoderRow) -> torch.nn.Module:
    config = transformers.Aimv2VisionConfig(
        hidden_size=row.width,
        num_hidden_layers=row.blocks,
        num_attention_heads=12,
        intermediate_size=4096,
        image_size=row.size,
        patch_size=row.patch,
        use_head=False,
    )
    return transformers.Aimv2VisionModel(config)


def qwen2_vl_tower(row: EncoderRow) -> torch.nn.Module:
    return Qwen2VisionTransformerPretrainedModel(qwen2.Qwen2VLVisionConfig())


def qwen2_5_vl_tower(row: EncoderRow) -> torch.nn.Module:
    config = qwen2_5.Qwen2_5_VLVisionConfig(hidden_size=1280, intermediate_size=3420)
    return Qwen2_5_VisionTransformerPretrainedModel(config)


def qwen3_vl_tower(row: EncoderRow) -> torch.nn.Module:
    wide = {1152: 4304, 1024: 4096}[row.width]
    config = qwen3.Qwen3VLVisionConfig(
        hidden_size=row.width, depth=row.blocks, intermediate_size=wide
    )
    return Qwen3VLVisionModel(config)


TOWERS = {
    "clip": clip_tower,
    "siglip": siglip_tower,
    "dinov2": dinov2_tower,
    "internvit": internvit_tower,
    "aimv2": aimv2_tower,
    "qwen2_vl": qwen2_vl_tower,
    "qwen2_5_vl": qwen2_5_vl_tower,
    "qwen3_vl": qwen3_vl_tower,
    "molmo": clip_tower,
}
# Final norms, pooling heads, mergers and the mask token: not read.
ASIDE = ("post_layernorm.", "head.", "merger", "deepstack", "mask_token")
LAST_NORMS = ("layernorm.", "rms_norm.")


@pytest.mark.parametrize(
    "row",
    {(row.family, row.width, row.size): row for row in ENCODERS.values()}.values(),
    ids=lambda row: row.name,
)
def test_parameter_counts_are_those_of_the_libraries(row: EncoderRow) -> None:
    with torch.device("meta"):
        tower = TOWERS[row.family](row)
    counted = sum(
        parameter.numel()
        for name, parameter in tower.named_parameters()
        if not any(part in name for part in ASIDE) and not name.startswith(LAST_NORMS)
    )
    assert row.parameters == counted


def test_bytes_and_what_has_to_be_done_first() -> None:
    qwen, dfn, gated = (ENCODERS[n] for n in ("qwen2-vl:post", "dfn-h-378", "paligemma:post"))
    assert qwen.bytes_to_read == 2 * 631_183_360
    assert "1.26 GB (the tower alone)" in qwen.needs
    assert "3.95 GB (a pickle, whole)" in dfn.needs
    assert "Accept the terms" in gated.needs
    assert gated.repo in gated.needs


def test_a_side_resolves_to_the_encoders_own_name() -> None:
    assert find_encoder("qwen2-vl:pre") is find_encoder("dfn-h-378") is ENCODERS["dfn-h-378"]
    assert find_encoder("qwen2-vl-224:post@/models/q") is ENCODERS["qwen2-vl:post"]
    assert canonical("qwen2-vl:pre@/models/a@b") == "dfn-h-378@/models/a@b"
    assert canonical("molmoe:post") == "molmoe:post"
    for name in ("qwen2-vl", "qwen2-vl:prae", "tiny:pre", "timm:x@y", ""):
        assert find_encoder(name) is None
        assert canonical(name) == name


def test_two_encoders_that_make_a_pair_keep_its_block_and_lineage() -> None:
    pair = pair_of("clip-l-336@./clip", "molmoe:post@you/finetune", name="mine")
    assert (pair.name, pair.pre, pair.post) == (
        "mine",
        "clip-l-336@./clip",
        "molmoe:post@you/finetune",
    )
    assert (pair.block, pair.lineage) == (21, PAIRS["molmoe"].lineage)
    assert find_pair("clip-l-336", "qwen2-vl:post") is None
    assert pair_of("clip-l-336", "qwen2-vl:post").block is None


def test_unknown_names_get_the_nearest_and_the_command_that_lists_all() -> None:
    with pytest.raises(ConfigError, match=r"no pair 'molmo-e'\. Did you mean .*molmoe.*`sdiag enc"):
        get_pair("molmo-e")
    with pytest.raises(ConfigError, match=r"no encoder 'qwen2-vl'\. Did you mean qwen2-vl:post"):
        load_encoder("qwen2-vl")


@dataclass(frozen=True)
class Opened:
    """What a stand-in for `open_checkpoint` returns."""

    reference: str
    revision: str = "c" * 40
    files: Mapping[str, str] = field(default_factory=lambda: {"config.json": "etag:12"})


class Loaded(torch.nn.Module):
    """What a stand-in for `load_family` returns: what it was called with."""

    def __init__(self, family: str, opened: Opened, name: str, **options: object):
        super().__init__()
        self.arguments, self.options = (family, opened, name), options
        self.info = EncoderInfo(name, "d" * 64, 1, 8, 16, 8, 0, (0.5,) * 3, (0.5,) * 3)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """Calls of `open_checkpoint`; loading returns what it was called with."""
    calls: list[dict] = []

    def open_checkpoint(reference: str, **options: object) -> Opened:
        calls.append({"reference": reference} | options)
        return Opened(reference)

    monkeypatch.setattr(checkpoint, "open_checkpoint", open_checkpoint)
    monkeypatch.setattr(families, "load_family", Loaded)
    return calls


def test_a_published_encoder_is_opened_and_held_against_its_row(
    asked: list[dict], tmp_path: Path
) -> None:
    loaded = load_encoder("qwen2-vl:post", weights=tmp_path, size=224)
    assert asked[0]["reference"] == "Qwen/Qwen2-VL-2B-Instruct"
    assert asked[0]["root"] == tmp_path
    assert set(asked[0]["prefixes"]) == {"visual.", "model.visual."}
    where = Opened("Qwen/Qwen2-VL-2B-Instruct")
    assert loaded.arguments == ("qwen2_vl", where, "qwen2-vl:post")
    assert (asked[0]["revision"], asked[0]["offline"]) == (None, False)
    assert loaded.options["size"] == 224
    assert loaded.options["expected"] == {
        "width": 1280,
        "depth": 32,
        "patch": 14,
        "activation": "quick_gelu",
    }


def test_a_revision_is_passed_on_and_the_origin_recorded(asked: list[dict]) -> None:
    loaded = load_encoder("qwen2-vl:post", revision="v1", offline=True)
    assert (asked[0]["revision"], asked[0]["offline"]) == ("v1", True)
    place = "Qwen/Qwen2-VL-2B-Instruct"
    assert loaded.info.origin == Origin(place, "c" * 40, {"config.json": "etag:12"})
    # Where equal weights lie is no part of what an encoder is.
    assert loaded.info == load_encoder("qwen2-vl:post").info
    assert load_encoder("qwen2-vl:pre@~/dfn").info.origin.place == "~/dfn"


@pytest.mark.parametrize("name", ["tiny:pre", "identity:post", "hf:some/model", "timm:some@f.bin"])
def test_a_revision_of_what_is_not_published_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"published encoders only, but {name} got {'b' * 40}"):
        load_encoder(name, revision="b" * 40)
    with pytest.raises(ConfigError, match="There is no encoder 'tiny:pra'"):
        load_encoder("tiny:pra", revision="b" * 40)


def test_a_place_stands_in_for_the_repository_and_shows_in_the_name(asked: list[dict]) -> None:
    loaded = load_encoder("qwen2-vl:pre@./dfn")
    assert asked[0]["reference"] == "./dfn"
    assert loaded.arguments[2] == "dfn-h-378@./dfn"


def test_a_file_inside_the_repository_is_named(asked: list[dict]) -> None:
    load_encoder("auroracap:post")
    load_encoder("auroracap:post@./visual_encoder")
    assert [call["files"] for call in asked] == [
        ("visual_encoder/model.safetensors.index.json",),
        None,
    ]


def test_a_row_that_is_replaced_is_used(asked: list[dict], monkeypatch: pytest.MonkeyPatch) -> None:
    row = replace(ENCODERS["clip-l-336"], repo="else/where", activation="gelu")
    monkeypatch.setitem(catalogue.ENCODERS, "clip-l-336", row)
    assert load_encoder("molmoe:pre").options["expected"]["activation"] == "gelu"
    assert asked[0]["reference"] == "else/where"


def test_listing_needs_no_torch() -> None:
    code = (
        "import sys; from degradation.encoders.registry import get_pair; get_pair('qwen2-vl');"
        "sys.exit(bool({'torch', 'numpy', 'huggingface_hub', 'pydantic'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_pair_rows_are_pair_rows() -> None:
    assert all(isinstance(row, PairRow) and name == row.name for name, row in PAIRS.items())
    assert all(isinstance(row, EncoderRow) and name == row.name for name, row in ENCODERS.items())
