from dataclasses import replace

import pytest
import torch
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModel

from degradation.encoders.encoder import EncoderInfo
from degradation.encoders.frozen import FrozenEncoder, channels, normalise
from degradation.encoders.vit import Vit, VitConfig
from degradation.errors import ConfigError

CONFIG = VitConfig(size=24, patch=8, width=32, depth=3, heads=4, mlp=48)
BLOCK_KEYS = {
    "norm1": "layer_norm1",
    "attn.proj": "self_attn.out_proj",
    "norm2": "layer_norm2",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_pixels(n: int = 2, size: int = 24) -> torch.Tensor:
    return torch.randint(0, 256, (n, 3, size, size), generator=generator(), dtype=torch.uint8)


def frozen(vit: Vit) -> FrozenEncoder:
    c = vit.config
    info = EncoderInfo(
        "test", "0" * 64, c.depth, c.width, c.size, c.patch, c.n_prefix, c.mean, c.std
    )
    return FrozenEncoder(vit, info)


def clip_in_our_names(clip: dict[str, torch.Tensor], depth: int) -> dict[str, torch.Tensor]:
    ours = {
        "cls": clip["embeddings.class_embedding"],
        "patch_embed.weight": clip["embeddings.patch_embedding.weight"],
        "positions": clip["embeddings.position_embedding.weight"],
    }
    for kind in ("weight", "bias"):
        ours[f"norm_pre.{kind}"] = clip[f"pre_layrnorm.{kind}"]
        for i in range(depth):
            theirs = f"encoder.layers.{i}"
            ours[f"blocks.{i}.attn.qkv.{kind}"] = torch.cat(
                [clip[f"{theirs}.self_attn.{part}_proj.{kind}"] for part in "qkv"]
            )
            for our_key, their_key in BLOCK_KEYS.items():
                ours[f"blocks.{i}.{our_key}.{kind}"] = clip[f"{theirs}.{their_key}.{kind}"]
    return ours


@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
def test_equals_the_clip_tower_of_transformers_in_every_block(activation):
    config = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=24,
        patch_size=8,
        hidden_act=activation,
        initializer_factor=5.0,  # larger weights, so that a difference would show
    )
    clip = CLIPVisionModel(config).eval()
    vit = Vit(
        replace(CONFIG, activation=activation, pre_norm=True, patch_bias=False, norm_eps=1e-5)
    )
    vit.load_state_dict(clip_in_our_names(clip.state_dict(), depth=3))
    pixels = torch.randn(2, 3, 24, 24, generator=generator())
    with torch.no_grad():
        expected = clip(pixels, output_hidden_states=True).hidden_states
        found = vit(pixels, range(3))
    for block in range(3):
        torch.testing.assert_close(found[block].prefix, expected[block + 1][:, :1])
        torch.testing.assert_close(found[block].patches, expected[block + 1][:, 1:])


@pytest.mark.parametrize("cls", [True, False])
def test_patches_keep_raster_order_and_prefix_stands_apart(cls):
    vit = Vit(replace(CONFIG, cls=cls)).initialise(generator=generator())
    # Blocks that add nothing: a token then shows its own patch only.
    for block in vit.blocks:
        nn.init.zeros_(block.attn.proj.weight)
        nn.init.zeros_(block.mlp.fc2.weight)
    dark = torch.zeros(1, 3, 24, 24)
    bright = dark.clone()
    bright[:, :, 8:16, 16:24] = 1.0  # row 1, column 2 of a 3 x 3 grid
    difference = vit(bright, [2])[2].patches - vit(dark, [2])[2].patches
    assert torch.nonzero(difference.abs().sum(-1)[0]).flatten().tolist() == [1 * 3 + 2]
    assert vit(dark, [2])[2].prefix.shape == (1, int(cls), 32)


def test_deeper_blocks_are_not_run():
    vit = Vit(CONFIG).initialise(generator=generator())
    vit.blocks[2] = None  # would fail if it were called
    assert list(vit(torch.zeros(1, 3, 24, 24), [1])) == [1]


def test_trains():
    vit = Vit(CONFIG).initialise(generator=generator())
    vit(torch.randn(2, 3, 24, 24, generator=generator()), [2])[2].patches.square().sum().backward()
    without = [name for name, p in vit.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_initial_weights_follow_from_the_generator_alone():
    first, same, other = (
        Vit(CONFIG).initialise(generator=generator(seed)).state_dict() for seed in (1, 1, 2)
    )
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["blocks.0.attn.qkv.weight"], other["blocks.0.attn.qkv.weight"])
    qkv = first["blocks.0.attn.qkv.weight"]
    glorot = (2 / sum(qkv.shape)) ** 0.5
    assert 0.9 * glorot < qkv.std() < 1.1 * glorot
    assert first["blocks.0.norm1.weight"].eq(1).all()
    assert first["blocks.0.norm1.bias"].eq(0).all()


def test_config_refuses_broken_patches_and_heads():
    with pytest.raises(ConfigError, match="side 25"):
        replace(CONFIG, size=25)
    with pytest.raises(ConfigError, match="5 heads"):
        replace(CONFIG, heads=5)


def test_normalise_by_hand():
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    found = normalise(pixels, channels((0.5, 0.1, 0.0)), channels((0.25, 0.5, 2.0)))
    torch.testing.assert_close(found.flatten(), torch.tensor([-2.0, 0.2, 0.5]))


def test_frozen_encoder_normalises_and_keeps_the_order_of_blocks():
    vit = Vit(replace(CONFIG, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6)))
    encoder = frozen(vit.initialise(generator=generator()))
    pixels = random_pixels()
    found = encoder(pixels, [2, 0])
    assert list(found) == [2, 0]
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (vit.config.mean, vit.config.std))
    expected = vit((pixels / 255 - mean) / std, [0])
    torch.testing.assert_close(found[0].patches, expected[0].patches)
    assert found[0].patches.dtype == torch.float32


def test_frozen_encoder_stays_frozen_inside_a_module_that_trains():
    encoder = frozen(Vit(CONFIG))
    outer = nn.Sequential(encoder)
    outer.train()
    assert not any(module.training for module in encoder.modules())
    assert not any(p.requires_grad for p in encoder.parameters())
    assert not encoder(random_pixels(), [0])[0].patches.requires_grad


@pytest.mark.parametrize("blocks", [[3], [-1], []])
def test_frozen_encoder_refuses_blocks_that_it_lacks(blocks):
    with pytest.raises(ConfigError, match="blocks 0 to 2"):
        frozen(Vit(CONFIG))(random_pixels(), blocks)


def test_frozen_encoder_refuses_another_picture_side():
    with pytest.raises(ConfigError, match="side 24, but these are 32 x 32"):
        frozen(Vit(CONFIG))(random_pixels(size=32), [0])


def test_channel_statistics_move_along_but_are_not_weights():
    vit = Vit(CONFIG).initialise(generator=torch.Generator().manual_seed(0))
    expected = frozen(vit)(random_pixels(), [0])[0].patches
    with torch.device("meta"):  # as where a tower is built before its weights are read
        encoder = frozen(vit)
    assert torch.equal(encoder(random_pixels(), [0])[0].patches, expected)
    assert {name for name, _ in encoder.named_buffers()} >= {"mean", "std"}
    assert not {"mean", "std"} & encoder.state_dict().keys()
    other = encoder.with_statistics((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert other.tower is encoder.tower
    assert (other.info.mean, other.info.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    torch.testing.assert_close(other.mean.flatten(), torch.tensor([0.1, 0.2, 0.3]))
    assert encoder.to("meta").mean.is_meta


def test_pictures_of_any_shape_only_where_they_are_let_through():
    vit = Vit(CONFIG).initialise(generator=torch.Generator().manual_seed(0))
    rectangle = torch.zeros(1, 3, CONFIG.size, 2 * CONFIG.size, dtype=torch.uint8)
    for pixels in (rectangle, rectangle.mT):
        with pytest.raises(ConfigError, match=f"pictures of side {CONFIG.size}, but these are"):
            frozen(vit)(pixels, [0])
