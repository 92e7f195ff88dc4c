"""Towers with fresh weights: of every family, finite and alive, the same again, and untrained."""

import json
import shutil
from dataclasses import replace

import huggingface_hub
import open_clip
import pytest
import torch
import transformers
from family_fixtures import CHECKPOINTS, DEPTH, PATCH, SIZE, WIDTH

from degradation.encoders import catalogue
from degradation.encoders.checkpoint import Checkpoint, open_configuration
from degradation.encoders.families import load_family
from degradation.encoders.random_init import random_name
from degradation.encoders.registry import load_encoder
from degradation.encoders.shipped import tiny_folder
from degradation.errors import ConfigError, WeightsError


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


def pictures(size, n=6):
    """Smooth pictures that differ: noise of 4 x 4 fields, scaled up."""
    rng = torch.Generator().manual_seed(0)
    fields = torch.rand(n, 3, 4, 4, generator=rng)
    scaled = torch.nn.functional.interpolate(fields, size=(size, size), mode="bilinear")
    return (255 * scaled).to(torch.uint8)


def assert_alive(encoder):
    """In every block tokens are finite, differ between places, and their means between pictures."""
    blocks = range(encoder.info.n_blocks)
    for tokens in encoder(pictures(encoder.info.size), blocks).values():
        x = tokens.patches
        assert torch.isfinite(x).all()
        scale = x.square().mean().sqrt()
        assert scale > 1e-3
        assert x.mean(dim=1).std(dim=0).mean() > 1e-3 * scale
        assert x.std(dim=1).mean() > 1e-3 * scale
        assert torch.linalg.matrix_rank(x.mean(dim=1) - x.mean(dim=(0, 1))) == len(x) - 1
    assert not any(p.requires_grad for p in encoder.parameters())


def test_the_tiny_tower_is_alive_and_not_the_trained_one():
    encoder, trained = load_encoder("random:tiny:pre"), load_encoder("tiny:pre")
    assert_alive(encoder)
    info = encoder.info
    assert info.name == "random:tiny:pre"
    assert info.digest != trained.info.digest
    assert replace(info, name="", digest="") == replace(trained.info, name="", digest="")
    shared = {n for n, x in trained.state_dict().items() if torch.equal(x, encoder.state_dict()[n])}
    assert shared <= {"mean", "std"}


def test_it_is_the_same_again_and_nobody_elses_stream_moves():
    torch.manual_seed(7)
    before = torch.get_rng_state()
    one = load_encoder("random:tiny:pre")
    torch.manual_seed(8)
    assert load_encoder("random:tiny:pre").info == one.info
    assert load_encoder("random:tiny:post").info.digest == one.info.digest
    torch.manual_seed(7)
    load_encoder("random:timm:test_vit")
    assert torch.equal(torch.get_rng_state(), before)


def test_trained_weights_need_not_be_there(tmp_path):
    shutil.copy(tiny_folder() / "config.json", tmp_path)
    (tmp_path / "pre.safetensors").write_bytes(b"not weights")
    encoder = load_encoder("random:tiny:pre", folder=tmp_path)
    assert encoder.info == load_encoder("random:tiny:pre").info
    (tmp_path / "config.json").unlink()
    with pytest.raises(WeightsError, match=r"VitConfig in .*config\.json"):
        load_encoder("random:tiny:pre", folder=tmp_path)


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_every_family_needs_its_configuration_only(kind):
    tiny = CHECKPOINTS[kind]()
    configuration = Checkpoint("here", None, tiny.config, {}, {}, {})
    encoder = load_family(tiny.family, configuration, kind, seed=0)
    assert_alive(encoder)
    assert encoder.info.digest != load_family(tiny.family, configuration, kind, seed=1).info.digest


def test_a_published_encoder_is_drawn_from_its_configuration(tmp_path, monkeypatch):
    row = replace(
        catalogue.ENCODERS["clip-l-336"], width=WIDTH, patch=PATCH, size=SIZE, blocks=DEPTH
    )
    monkeypatch.setitem(catalogue.ENCODERS, "clip-l-336", row)
    (tmp_path / "config.json").write_text(json.dumps(CHECKPOINTS["clip"]().config))
    place = f"clip-l-336@{tmp_path}"
    encoder = load_encoder(f"random:{place}", size=2 * SIZE, interpolation="bicubic")
    assert encoder.info.name == f"random:{place}"
    assert list(encoder.info.origin.files) == ["config.json"]
    assert_alive(encoder)
    with pytest.raises(WeightsError, match="safetensors"):
        load_encoder(place)
    monkeypatch.setitem(catalogue.ENCODERS, "clip-l-336", replace(row, activation="gelu"))
    with pytest.raises(ConfigError, match="activation 'quick_gelu' instead of 'gelu'"):
        load_encoder(f"random:{place}")
    (tmp_path / "config.json").unlink()
    with pytest.raises(WeightsError, match=r"config\.json"):
        open_configuration(str(tmp_path))


HF = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 24,
    "patch_size": 8,
}


@pytest.mark.parametrize(
    "config",
    [
        transformers.CLIPVisionConfig(**HF, intermediate_size=48),
        transformers.CLIPConfig(vision_config=HF | {"intermediate_size": 48}),
        transformers.SiglipVisionConfig(**HF, intermediate_size=48),
        transformers.ViTConfig(**HF, intermediate_size=48),
        transformers.Dinov2Config(**HF, mlp_ratio=2),
    ],
    ids=lambda config: config.model_type,
)
def test_a_transformers_tower_is_as_its_class_initialises_it(tmp_path, config):
    config.save_pretrained(tmp_path)
    settings = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    settings["image_processor_type"] = "ViTImageProcessor"
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    encoder = load_encoder(f"random:hf:{tmp_path}")
    assert_alive(encoder)
    assert encoder.info == load_encoder(f"random:hf:{tmp_path}").info
    with pytest.raises(WeightsError):
        load_encoder(f"hf:{tmp_path}")


def test_a_timm_tower_is_as_timm_initialises_it():
    encoder = load_encoder("random:timm:test_vit")
    assert_alive(encoder)
    assert encoder.info.name == "random:timm:test_vit"
    assert encoder.info == load_encoder("random:timm:test_vit").info
    linear = encoder.tower.model.blocks[0].mlp.fc1
    assert linear.weight.std().item() == pytest.approx(0.02, rel=0.1)  # timm's trunc_normal_
    assert not linear.bias.any()


def test_an_open_clip_tower_needs_no_weights(tmp_path):
    vision = {"image_size": 24, "layers": 3, "width": 32, "head_width": 8, "patch_size": 8}
    text = {"context_length": 8, "vocab_size": 20, "width": 16, "heads": 2, "layers": 1}
    model = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}
    (tmp_path / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": model, "preprocess_cfg": {"mean": [0.1] * 3, "std": [0.4] * 3}})
    )
    encoder = load_encoder(f"random:open_clip:{tmp_path}")
    assert_alive(encoder)
    assert encoder.info.mean == (0.1, 0.1, 0.1)
    assert encoder.info == load_encoder(f"random:open_clip:{tmp_path}").info
    (tmp_path / "ViT-nano.json").write_text(json.dumps(model))
    open_clip.add_model_config(tmp_path / "ViT-nano.json")
    known = load_encoder("random:open_clip:ViT-nano@absent.safetensors")
    assert known.info.digest == encoder.info.digest


def test_the_statistics_of_an_open_clip_tag_come_without_its_weights(monkeypatch):
    published = {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6), "quick_gelu": True}
    vision = {"image_size": 24, "layers": 2, "width": 32, "head_width": 8, "patch_size": 8}
    text = {"context_length": 8, "vocab_size": 20, "width": 16, "heads": 2, "layers": 1}
    model = {"embed_dim": 16, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}
    made = open_clip.CLIP(**model)
    made.visual.image_mean, made.visual.image_std = None, None
    monkeypatch.setattr(open_clip, "list_models", lambda: ["ViT-nano"])
    monkeypatch.setattr(open_clip, "list_pretrained_tags_by_model", lambda name: ["t"])
    monkeypatch.setattr(open_clip, "get_model_config", lambda name: model)
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda name, tag: published)
    asked = {}
    monkeypatch.setattr(open_clip, "create_model", lambda name, **how: asked.update(how) or made)
    info = load_encoder("random:open_clip:ViT-nano/t").info
    assert (info.mean, info.std) == (published["mean"], published["std"])
    assert asked == {"load_weights": False, "pretrained_text": False}  # no tag: nothing to download


@pytest.mark.parametrize("name", ["random:", "random:tiny", "random:random:tiny:pre", "random:hf:"])
def test_random_of_nothing_is_unknown(name):
    with pytest.raises(ConfigError, match="There is no encoder 'random:"):
        load_encoder(name)


def test_a_planted_operation_has_no_architecture_of_its_own():
    with pytest.raises(ConfigError, match=r"found erased:post, .* Use random:tiny:pre"):
        load_encoder("random:erased:post")
    with pytest.raises(ConfigError, match="published encoders only, but random:tiny:pre got v1"):
        load_encoder("random:tiny:pre", revision="v1")


def test_all_names_of_an_encoder_have_one_random_tower():
    assert random_name("qwen2-vl:pre") == random_name("random:dfn-h-378") == "random:dfn-h-378"
    assert random_name("tiny:pre") == random_name("random:tiny:pre") == "random:tiny:pre"
