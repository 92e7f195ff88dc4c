"""What every family keeps. A new family needs a line in `CHECKPOINTS` and passes this file."""

import re

import pytest
import torch
from family_fixtures import CHECKPOINTS, clip, clip_tower, llava, qwen2_vl
from torch import nn

from degradation.encoders.encoder import Encoder
from degradation.encoders.families import FAMILIES, blocks_read, load_family, load_tower
from degradation.errors import ConfigError

CANONICAL = re.compile(
    r"(patch_embed|patch_norm|norm_pre)\.(weight|bias)|cls|positions|"
    r"blocks\.\d+\.((norm1|norm2|attn\.qkv|attn\.proj|mlp\.fc1|mlp\.fc2)\.(weight|bias)|scale[12])"
)
PIXELS = torch.Generator().manual_seed(1)


@pytest.fixture(params=CHECKPOINTS)
def tiny(request):
    return CHECKPOINTS[request.param]()


def small(tiny):
    """The side of the fixture's own grid; towers that take any grid have larger defaults."""
    return 64 if tiny.family == "qwen3_vl" else 56


def tower_names(tiny):
    """Names on disk that the tower is made of: all under the prefix but what is left aside."""
    aside = r"merger|deepstack|post_|head|layernorm\.|ln_post|proj$|rms_norm\.weight|.*position_ids"
    aside += r"|.*mask_token|trunk\.post"
    return {
        name
        for name in tiny.state
        if name.startswith(tiny.prefix) and not re.match(aside, name.removeprefix(tiny.prefix))
    }


def test_every_family_has_a_checkpoint():
    assert {make().family for make in CHECKPOINTS.values()} == FAMILIES.keys()


def test_an_encoder_keeps_the_contract(tiny):
    encoder = load_family(tiny.family, tiny, "some:name", size=small(tiny))
    info = encoder.info
    assert isinstance(encoder, Encoder)
    assert info.name == "some:name"
    assert not any(p.requires_grad for p in encoder.parameters())
    assert not any(p.is_meta for p in encoder.parameters())
    assert {p.dtype for p in encoder.parameters()} == {torch.float32}
    assert all(CANONICAL.fullmatch(name) for name in encoder.tower.state_dict())
    pixels = torch.randint(0, 256, (2, 3, info.size, info.size), dtype=torch.uint8)
    outputs = encoder(pixels, list(reversed(range(info.n_blocks))))
    assert list(outputs) == list(reversed(range(info.n_blocks)))
    for tokens in outputs.values():
        assert tokens.patches.shape == (2, (info.size // info.patch) ** 2, info.width)
        assert tokens.prefix.shape == (2, info.n_prefix, info.width)
        assert tokens.patches.dtype == torch.float32
        assert torch.isfinite(tokens.patches).all()


def test_patches_are_in_raster_order(tiny):
    tower = load_tower(tiny.family, tiny)
    for block in tower.blocks:  # add the same to every token, whatever it is
        nn.init.zeros_(block.attn.proj.weight)
        nn.init.zeros_(block.mlp.fc2.weight)
    patch, grid = tower.config.patch, tower.config.grid
    dark = torch.zeros(1, 3, tower.config.size, tower.config.size)
    bright = dark.clone()
    bright[..., patch : 2 * patch, 2 * patch : 3 * patch] = 1.0  # row 1, column 2
    with torch.no_grad():
        difference = tower(bright, [0])[0].patches - tower(dark, [0])[0].patches
    assert torch.nonzero(difference.abs().sum(-1)[0]).flatten().tolist() == [grid + 2]


def test_only_the_tower_is_read(tiny):
    load_family(tiny.family, tiny, "x")
    assert len(tiny.was_read) == len(set(tiny.was_read))
    assert set(tiny.was_read) == tower_names(tiny)


def test_every_stored_tensor_counts(tiny):
    # Nothing can have been random, or twice the same: whatever is changed, the digest tells.
    digests = {load_family(tiny.family, tiny, "x").info.digest}
    names = [name for name in sorted(tower_names(tiny)) if not re.search(r"\.[1-9]\.", name)]
    for name in names:
        bare = name.removeprefix(tiny.prefix)
        other = tiny.changed(**{bare: tiny.state[name] + 1})
        digests.add(load_family(tiny.family, other, "x").info.digest)
    assert len(digests) == len(names) + 1


def test_stored_precision_is_widened(tiny):
    half = {n: x.bfloat16() if x.is_floating_point() else x for n, x in tiny.state.items()}
    wide = {n: x.float() if x.is_floating_point() else x for n, x in half.items()}
    digests = []
    for state in (half, wide):
        tiny.state = state
        digests.append(load_family(tiny.family, tiny, "x").info.digest)
    assert digests[0] == digests[1]


def test_the_residual_stream_stays_wide_under_autocast(tiny):
    tower = load_family(tiny.family, tiny, "x", size=small(tiny)).tower
    pixels = torch.randn(1, 3, small(tiny), small(tiny), generator=PIXELS)
    last = tower.config.depth - 1
    with torch.no_grad():
        exact = tower(pixels, [last])[last].patches
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = tower(pixels, [last])[last].patches
    assert rough.dtype == torch.float32
    assert torch.cosine_similarity(exact, rough, dim=-1).min() > 0.99
    assert not torch.equal(exact, rough)


def test_the_blocks_that_are_read(tiny):
    expected = {"molmo": (3, 1), "qwen3_vl": (2, 1)}.get(tiny.family, (2,))
    assert blocks_read(tiny.family, tiny) == ((1,) if "llava" in str(tiny.config) else expected)


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "vision_model.",
        "vision_tower.vision_model.",
        "vision_tower.",
        "model.vision_tower.vision_model.",
        "model.vision_tower.",
        "model.vision_tower.vision_tower.vision_model.",
    ],
)
def test_clip_is_found_under_each_prefix(prefix):
    state = {
        prefix + name.removeprefix("vision_model."): x
        for name, x in clip().state.items()
        if name.startswith("vision_model.")
    }
    if prefix:
        state |= {"language_model.lm_head.weight": torch.zeros(2, 2)}
    moved = llava()
    moved.state = state
    found = load_family("clip", moved, "x").info.digest
    assert found == load_family("clip", clip(), "x").info.digest


def test_both_prefixes_and_both_configurations_of_qwen2_vl_give_the_same():
    hub, finetune = qwen2_vl(), qwen2_vl("model.visual.", nested=True)
    towers = {n: x for n, x in hub.state.items() if n.startswith("visual.")}
    finetune.state |= {f"model.{n}": x for n, x in towers.items()}
    assert (
        load_family("qwen2_vl", hub, "x").info.digest
        == load_family("qwen2_vl", finetune, "x").info.digest
    )


def test_activation_and_epsilon_come_from_the_configuration():
    configs = [load_tower("clip", make()).config for make in (clip, clip_tower)]
    assert [config.activation for config in configs] == ["quick_gelu", "gelu"]
    quick = clip_tower().configured(hidden_act="quick_gelu", layer_norm_eps=1e-3)
    other = load_tower("clip", quick)
    assert (other.config.activation, other.config.norm_eps) == ("quick_gelu", 1e-3)
    pixels = torch.randint(0, 256, (1, 3, 56, 56), dtype=torch.uint8)
    digests = [load_family("clip", tiny, "x").info.digest for tiny in (clip_tower(), quick)]
    assert digests[0] != digests[1]  # the same weights, other features
    features = [load_family("clip", t, "x")(pixels, [2])[2].patches for t in (clip_tower(), quick)]
    assert (features[0] - features[1]).abs().max() > 1e-3


def test_statistics_are_the_familys_unless_given():
    names = {
        "clip": 0.48145466,
        "qwen2_vl": 0.48145466,
        "molmo": 0.48145466,
        "aimv2": 0.48145466,
        "sail-vl-1.5": 0.485,
        "sail-vl": 0.485,
        "internvit": 0.485,
        "dinov2": 0.485,
        "siglip": 0.5,
        "qwen3_vl": 0.5,
    }
    for name, mean in names.items():
        tiny = CHECKPOINTS[name]()
        assert load_family(tiny.family, tiny, "x").info.mean[0] == mean, name
    given = ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    info = load_family("aimv2", CHECKPOINTS["aimv2"](), "x", statistics=given).info
    assert (info.mean, info.std) == given


def test_a_side_of_its_own_or_asked_for():
    tiny = CHECKPOINTS["qwen2_vl"]()
    assert load_family("qwen2_vl", tiny, "x").info.size == 378
    assert load_family("qwen2_vl", tiny, "x", size=42).info.size == 42
    with pytest.raises(ConfigError, match="whole patches"):
        load_family("qwen2_vl", tiny, "x", size=50)
    with pytest.raises(ConfigError, match="learned positions for side 56 only, but side 84"):
        load_family("clip", clip(), "x", size=84)
    larger = load_family("clip", clip(), "x", size=84, interpolation="bicubic")
    assert larger.info.size == 84
    assert larger.info.digest != load_family("clip", clip(), "x").info.digest
    own = load_family("clip", clip(), "x", size=56, interpolation="bicubic")
    assert own.info.digest == load_family("clip", clip(), "x").info.digest
