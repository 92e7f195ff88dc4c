"""What is not loaded: anything that is not wholly and surely the tower that was asked for."""

import re

import pytest
import torch
from family_fixtures import (
    CHECKPOINTS,
    Tiny,
    clip,
    clip_tower,
    dinov2,
    internvit,
    llava,
    molmo,
    open_clip,
    qwen2_vl,
    siglip,
)

from degradation.encoders.families import FAMILIES, blocks_read, load_family, load_tower
from degradation.encoders.families.locate import locate
from degradation.errors import ConfigError, SdiagError, WeightsError


@pytest.fixture(params=CHECKPOINTS)
def tiny(request):
    return CHECKPOINTS[request.param]()


def needed(tiny):
    """Names of the tower's tensors on disk, without prefix; of the blocks, those of the first."""
    load_tower(tiny.family, tiny)
    names = [name.removeprefix(tiny.prefix) for name in tiny.was_read]
    return [name for name in names if not re.search(r"\.[1-9]\.", name)]


def refused(tiny, match, error=WeightsError, **arguments):
    tiny.was_read = []
    with pytest.raises(error, match=match) as caught:
        load_family(tiny.family, tiny, "x", **arguments)
    assert tiny.source in str(caught.value)
    assert tiny.was_read == []  # names, shapes and types are enough to refuse it


def test_each_tensor_is_needed(tiny):
    for name in needed(tiny):
        refused(tiny.changed(**{name: None}), r"1 missing")


def test_each_shape_is_checked(tiny):
    for name in needed(tiny):
        tensor = tiny.state[tiny.prefix + name]
        refused(tiny.changed(**{name: tensor[None]}), r"1 misshapen \(")
        refused(tiny.changed(**{name: torch.cat([tensor, tensor])}), r"1 misshapen \(")


def test_a_renamed_tensor_is_missing_and_unexpected(tiny):
    name = needed(tiny)[-1]
    moved = tiny.changed(**{name: None, f"{name}_": tiny.state[tiny.prefix + name]})
    refused(moved, r"1 missing \(.*; 1 unexpected \(.*_\)")


@pytest.mark.parametrize(
    "name", ["blocks.0.attn.q_norm.weight", "encoder.layers.9.norm1.weight", "mergers", "weight"]
)
def test_an_unknown_tensor_beside_the_tower_is_refused(tiny, name):
    refused(tiny.changed(**{name: torch.zeros(3)}), r"1 unexpected \(")


def test_a_block_more_than_configured_is_refused():
    # As many as the weights would need: a smaller depth must not cut the tower short.
    refused(clip().configured(num_hidden_layers=2), "16 unexpected")
    refused(clip().configured(num_hidden_layers=4), "16 missing")
    refused(qwen2_vl().configured(depth=2), "12 unexpected")
    refused(molmo().configured(image_num_layers=6), "16 missing")


def test_configuration_and_weights_that_disagree_are_refused():
    refused(clip().configured(image_size=70), "misshapen .*position_embedding")
    refused(clip().configured(intermediate_size=64), "9 misshapen")
    refused(siglip().configured(patch_size=7), "misshapen")
    refused(internvit().configured(qkv_bias=False), "3 unexpected .*qkv.bias")
    refused(dinov2().configured(mlp_ratio=3), "misshapen")
    # A number of heads fits any weights, so it is only checked where it is registered.
    refused(
        clip().configured(num_attention_heads=2),
        "heads 2 instead of 4",
        ConfigError,
        expected={"heads": 4},
    )


def test_two_towers_are_refused():
    both = qwen2_vl()
    tower = {n: x for n, x in both.state.items() if n.startswith("visual.")}
    both.state |= {f"model.{name}": x for name, x in tower.items()}
    refused(both, r"37 of 37 tensors under 'visual.' and 37 of 37 tensors under 'model.visual.'")


def test_a_second_tower_in_part_is_refused():
    both = clip()
    name = "encoder.layers.1.mlp.fc1.weight"
    both.state[f"vision_tower.{name}"] = both.state[f"vision_model.{name}"]
    refused(both, r"under 'vision_model.' and 1 of \d+ tensors under 'vision_tower.'")


def test_two_layouts_at_once_are_refused():
    both = CHECKPOINTS["aimv2"]()
    both.state |= CHECKPOINTS["aimv2-converted"]().state
    refused(both, "cannot be told which one is used")


def test_no_tower_at_all_is_refused():
    text_only = qwen2_vl()
    text_only.state = {n: x for n, x in text_only.state.items() if not n.startswith("visual.")}
    refused(text_only, "none of its tensors .*text-only")
    empty = clip()
    empty.state = {}
    refused(empty, "none of its tensors .*no tensors")


def test_text_only_configurations_are_refused():
    text_only = qwen2_vl()
    text_only.config = {"model_type": "qwen2", "hidden_size": 24, "hidden_act": "silu"}
    refused(text_only, "model type 'qwen2' without a vision_config.*text-only", ConfigError)
    for name in FAMILIES:
        with pytest.raises(ConfigError, match="tiny checkpoint"):
            load_family(name, Tiny(name, {"model_type": "llama"}, text_only.state, ""), "x")


def test_no_checkpoint_passes_for_another_family(tiny):
    for family in FAMILIES:
        if family != tiny.family:
            with pytest.raises(SdiagError, match="tiny checkpoint"):
                load_family(family, tiny, "x")


def test_weights_of_one_family_with_the_configuration_of_another_are_refused(tiny):
    for make in CHECKPOINTS.values():
        other = make()
        if other.family != tiny.family:
            other.config = tiny.config
            with pytest.raises(WeightsError, match="tiny checkpoint"):
                load_family(tiny.family, other, "x")


def test_an_unknown_family_is_refused():
    with pytest.raises(ConfigError, match="Did you mean qwen2_vl"):
        load_family("qwen2-vl", qwen2_vl(), "x")


def test_quantised_checkpoints_are_refused(tiny):
    quantised = tiny.configured()
    quantised.config["quantization_config"] = {"quant_method": "bitsandbytes"}
    refused(quantised, "is quantised", ConfigError)
    name = needed(tiny)[-1]
    eight_bits = tiny.state[tiny.prefix + name].to(torch.uint8)
    refused(tiny.changed(**{name: eight_bits}), r"1 quantised \(.*of type U8")


def test_values_that_are_no_numbers_are_refused(tiny):
    name = needed(tiny)[0]
    broken = tiny.changed(**{name: torch.full_like(tiny.state[tiny.prefix + name], torch.nan)})
    with pytest.raises(WeightsError, match="1 non-finite"):
        load_family(tiny.family, broken, "x")


def test_tensors_without_values_are_refused(tiny):
    name = needed(tiny)[0]
    hollow = tiny.changed(**{name: tiny.state[tiny.prefix + name].to("meta")})
    with pytest.raises(WeightsError, match=r"1 without-values"):
        load_family(tiny.family, hollow, "x")


def test_a_tower_that_is_random_in_part_is_never_returned(tiny, monkeypatch):
    # Were a name to slip through all checks of names, the tower would still not be whole.
    def forgetful(*arguments):
        found = locate(*arguments)
        found.popitem()
        return found

    monkeypatch.setattr("degradation.encoders.families.loading.locate", forgetful)
    with pytest.raises(WeightsError, match="1 missing"):
        load_family(tiny.family, tiny, "x")


ACTIVATIONS = {
    "clip": ("hidden_act", "relu"),
    "siglip": ("hidden_act", "gelu_new"),
    "dinov2": ("hidden_act", "silu"),
    "internvit": ("hidden_act", "quick_gelu"),
    "sail-vl": ("hidden_act", "gelu_pytorch_tanh"),
    "qwen2_vl": ("hidden_act", "gelu"),
    "qwen2_vl-finetune": ("hidden_act", "silu"),
    "qwen2_5_vl": ("hidden_act", "gelu"),
    "qwen3_vl": ("hidden_act", "gelu_fast"),
    "aimv2": ("hidden_act", "gelu"),
    "molmo": ("image_mlp_activations", "gelu"),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_that_the_family_does_not_have_is_refused(name):
    field, value = ACTIVATIONS[name]
    changed = CHECKPOINTS[name]().configured(**{field: value})
    refused(changed, f"{field}: .*found '{value}'", ConfigError)


def test_an_activation_that_is_not_the_registered_one_is_refused():
    # The configuration of a DFN tower that says gelu loads cleanly and gives worse features.
    registered = {"activation": "quick_gelu"}
    refused(clip_tower(), "'gelu' instead of 'quick_gelu'", ConfigError, expected=registered)
    plain = open_clip()
    plain.config["model_cfg"]["quick_gelu"] = False
    refused(plain, "'gelu' instead of 'quick_gelu'", ConfigError, expected=registered)
    load_family("open_clip", open_clip(), "x", expected=registered)


@pytest.mark.parametrize(
    ("name", "settings", "match"),
    [
        ("internvit", {"norm_type": "rms_norm"}, "norm_type"),
        ("internvit", {"qk_normalization": True}, "qk_normalization"),
        ("qwen2_vl", {"temporal_patch_size": 1}, "temporal_patch_size"),
        ("qwen2_vl", {"rope_parameters": {"rope_theta": 500.0}}, "rope_theta.*500"),
        ("qwen2_vl", {"in_chans": 4}, "in_chans.*found 4"),
        ("dinov2", {"use_swiglu_ffn": True}, "use_swiglu_ffn"),
        ("aimv2", {"is_native": True}, "is_native"),
        ("aimv2", {"use_bias": True}, "use_bias"),
        ("molmo", {"image_model_type": "siglip"}, "image_model_type"),
        ("open_clip", {"timm_model_name": "vit_base"}, "model_cfg.vision_cfg.timm_model_name"),
        ("open_clip", {"no_ln_pre": True}, "no_ln_pre"),
        ("open_clip", {"act_kwargs": {"approximate": "tanh"}}, "plain activation and norm"),
        ("open_clip", {"layers": [2, 2, 2, 2]}, "layers"),
        ("clip", {"hidden_size": "wide"}, "hidden_size.*'wide'"),
        ("clip", {"patch_size": 0}, "positive.*patch 0"),
        ("clip", {"num_attention_heads": 5}, "into 5 heads"),
    ],
)
def test_an_architecture_that_the_tower_cannot_be_is_refused(name, settings, match):
    refused(CHECKPOINTS[name]().configured(**settings), match, ConfigError)


def test_what_decides_the_features_must_be_stated_where_no_default_is_safe():
    partial = internvit().configured()
    del partial.config["norm_type"], partial.config["qk_normalization"]
    refused(partial, "norm_type: Field required; qk_normalization: Field required", ConfigError)


def test_open_clip_needs_its_own_configuration():
    mixed = open_clip()
    mixed.config = clip().config
    refused(mixed, "Expected open_clip_config.json", ConfigError)


@pytest.mark.parametrize("layers", [[-2, -9], [7], [], "last"])
def test_blocks_that_do_not_exist_are_not_read(layers):
    wrong = molmo()
    wrong.config["vit_layers"] = layers
    with pytest.raises(ConfigError, match="tiny checkpoint"):
        blocks_read("molmo", wrong)


def test_embeddings_are_no_block():
    wrong = llava()
    wrong.config["vision_feature_layer"] = 0
    with pytest.raises(ConfigError, match=r"names \[-1\]"):
        blocks_read("clip", wrong)


def test_several_layers_of_llava_are_read():
    several = llava()
    several.config["vision_feature_layer"] = [-1, 1, -2]
    assert blocks_read("clip", several) == (2, 1, 0)
