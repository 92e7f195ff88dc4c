"""The switches of the one tower that the shipped encoder does not use."""

from dataclasses import asdict, replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from degradation.encoders.architecture import VitConfig, facts
from degradation.encoders.blocks import Block
from degradation.encoders.positions import axial_turns, rotated, table_at, window_mask
from degradation.encoders.vit import Vit, of_any_grid, resized
from degradation.errors import ConfigError

CONFIG = VitConfig(size=24, patch=4, width=32, depth=2, heads=4, mlp=48, cls=False)
ROPE = replace(CONFIG, learned_positions=False, rope=True)
CPU = torch.device("cpu")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=generator(seed))


def test_facts_of_a_tower_without_later_switches_are_those_of_the_first_digests():
    assert facts(VitConfig(size=24, patch=8, width=32, depth=3, heads=4, mlp=48)) == {
        "size": 24,
        "patch": 8,
        "width": 32,
        "depth": 3,
        "heads": 4,
        "mlp": 48,
        "activation": "gelu",
        "cls": True,
        "pre_norm": False,
        "patch_bias": True,
        "norm_eps": 1e-6,
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
        "stem": (),
    }


def test_facts_count_every_switch_that_is_not_at_its_default():
    full = replace(
        ROPE,
        norm="rms",
        patch_norm=True,
        qkv_bias=False,
        proj_bias=False,
        mlp_bias=False,
        layer_scale=True,
        window=2,
        full_blocks=(1,),
        learned_positions=True,
        interpolation="bicubic",
        final_norm=True,
    )
    counted = asdict(full)
    assert counted.pop("learned_positions")  # the one that is at its default here
    assert facts(full) == counted


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"cls": True, "rope": True}, "neither RoPE nor windows"),
        ({"cls": True, "window": 2}, "neither RoPE nor windows"),
        ({"rope": True, "heads": 16}, "multiple of 4, but it is 2"),
        ({"depth": 0}, "positive.*depth 0"),
        ({"learned_positions": False, "interpolation": "bicubic"}, "this tower has none"),
    ],
)
def test_switches_that_contradict_each_other_are_refused(change, match):
    with pytest.raises(ConfigError, match=match):
        replace(CONFIG, **change)


def test_turns_are_those_of_a_loop_over_cells():
    rows, columns, head_width = 3, 5, 8
    turns = axial_turns(rows, columns, head_width, CPU)
    for row in range(rows):
        for column in range(columns):
            angles = [row * 10_000 ** -(k / 2) for k in range(2)]
            angles += [column * 10_000 ** -(k / 2) for k in range(2)]
            cell = row * columns + column
            torch.testing.assert_close(turns.cos[cell], torch.tensor(angles).cos())
            torch.testing.assert_close(turns.sin[cell], torch.tensor(angles).sin())


def test_a_turn_is_a_multiplication_by_a_complex_number():
    x, turns = noise(2, 15, 8), axial_turns(3, 5, 8, CPU)
    expected = torch.complex(*x.chunk(2, dim=-1)) * torch.complex(*turns)
    torch.testing.assert_close(rotated(x, turns), torch.cat([expected.real, expected.imag], dim=-1))


def test_attention_scores_depend_on_the_offset_between_cells_only():
    turns = axial_turns(6, 6, 16, CPU)
    query, key = (rotated(noise(1, 16, seed=s).expand(36, 16), turns) for s in (0, 1))
    scores = (query @ key.T).view(6, 6, 6, 6)
    for row, column in ((0, 0), (2, 1), (3, 3)):
        torch.testing.assert_close(
            scores[row, column, row + 1, column + 2], scores[0, 0, 1, 2], atol=1e-4, rtol=0
        )
    assert (scores[0, 0, 1, 2] - scores[0, 0, 2, 1]).abs() > 1e-2


def test_rows_and_columns_are_told_apart():
    vit = Vit(ROPE).initialise(generator=generator())
    pixels = noise(1, 3, 24, 24)
    with torch.no_grad():
        for block in vit.blocks:
            block.attn.qkv.weight.mul_(4)  # attention that is far from even
        plain = vit(pixels, [1])[1].patches.view(6, 6, -1)
        # A transposed picture has transposed patches too; the kernel is transposed likewise.
        vit.patch_embed.weight.copy_(vit.patch_embed.weight.mT.clone())
        turned = vit(pixels.mT.contiguous(), [1])[1].patches.view(6, 6, -1)
    assert (plain - turned.transpose(0, 1)).abs().max() > 1e-3


def test_a_tower_without_table_takes_any_grid_and_one_with_table_only_its_own():
    vit = Vit(ROPE).initialise(generator=generator())
    assert vit(noise(1, 3, 12, 20), [0])[0].patches.shape == (1, 15, 32)
    table = Vit(CONFIG).initialise(generator=generator())
    with pytest.raises(ConfigError, match="6 x 6 patches, but these pictures have 4 x 9"):
        table(noise(1, 3, 16, 36), [0])  # as many cells as its own grid


def test_windows_are_those_of_a_loop_over_cells():
    mask = window_mask(5, 7, 3, CPU)
    for i in range(35):
        for j in range(35):
            same = (i // 7 // 3, i % 7 // 3) == (j // 7 // 3, j % 7 // 3)
            assert mask[i, j] == same


def test_a_cell_sees_its_window_until_a_full_block():
    vit = Vit(replace(ROPE, window=2, full_blocks=(1,))).initialise(generator=generator())
    dark = noise(1, 3, 24, 24)
    bright = dark.clone()
    bright[..., :4, :4] += 1.0  # the upper left cell
    with torch.no_grad():
        before, after = vit(dark, [0, 1]), vit(bright, [0, 1])
    changed = [(before[i].patches - after[i].patches).abs().sum(-1)[0] > 0 for i in (0, 1)]
    assert torch.nonzero(changed[0]).flatten().tolist() == [0, 1, 6, 7]
    assert changed[1].all()


def test_swiglu_and_layer_scale_by_hand():
    config = replace(CONFIG, activation="swiglu", layer_scale=True, norm="rms", mlp_bias=False)
    block = Block(config)
    with torch.no_grad():
        for seed, parameter in enumerate(block.parameters()):
            parameter.copy_(noise(*parameter.shape, seed=seed) / 4)
        nn.init.zeros_(block.scale1)
        x = noise(2, 9, 32)
        rms = x / (x.square().mean(-1, keepdim=True) + config.norm_eps).sqrt()
        rms = rms * block.norm2.weight
        gate, value = block.mlp.fc1.weight[:48], block.mlp.fc1.weight[48:]
        hidden = functional.silu(rms @ gate.T) * (rms @ value.T)
        expected = x + block.scale2 * (hidden @ block.mlp.fc2.weight.T)
        torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize(
    "config",
    [
        replace(ROPE, norm="rms", activation="swiglu", layer_scale=True, window=2),
        replace(CONFIG, cls=True, pre_norm=True, patch_norm=True, activation="gelu_tanh"),
        replace(CONFIG, qkv_bias=False, proj_bias=False, mlp_bias=False, patch_bias=False),
    ],
)
def test_every_parameter_of_every_switch_is_used_and_initialised(config):
    with torch.device("meta"):
        vit = Vit(config)
    vit = vit.to_empty(device="cpu").initialise(generator=generator())
    vit(noise(2, 3, 24, 24), [1])[1].patches.square().sum().backward()
    assert [name for name, p in vit.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert all(torch.isfinite(p).all() for p in vit.parameters())


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear_corners"])
@pytest.mark.parametrize("n_prefix", [0, 1])
def test_a_table_on_its_own_grid_stays_as_it_is(interpolation, n_prefix):
    table = noise(25 + n_prefix, 8)
    torch.testing.assert_close(table_at(table, n_prefix, (5, 5), interpolation), table)


def test_prefix_rows_stay_and_corners_stay_on_corners():
    table = noise(26, 8)
    for interpolation in ("bicubic", "bilinear_corners"):
        larger = table_at(table, 1, (9, 9), interpolation)
        assert larger.shape == (82, 8)
        assert torch.equal(larger[0], table[0])
    corners = larger[1:].view(9, 9, 8)[::8, ::8].reshape(4, 8)
    torch.testing.assert_close(corners, table[1:].view(5, 5, 8)[::4, ::4].reshape(4, 8))


def test_resized_shares_everything_but_the_table():
    vit = Vit(replace(CONFIG, cls=True)).initialise(generator=generator())
    assert resized(vit, 24) is vit
    other = resized(vit, 32, "bicubic")
    assert other.config == replace(vit.config, size=32)
    assert other.positions.shape == (65, 32)
    assert other.patch_embed.weight.data_ptr() == vit.patch_embed.weight.data_ptr()
    assert other(noise(1, 3, 32, 32), [1])[1].patches.shape == (1, 64, 32)
    with pytest.raises(ConfigError, match="side 24 only, but side 32"):
        resized(vit, 32)
    free = Vit(ROPE).initialise(generator=generator())
    pixels = noise(1, 3, 32, 32)
    assert torch.equal(resized(free, 32)(pixels, [1])[1].patches, free(pixels, [1])[1].patches)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear_corners"])
def test_rows_and_columns_of_a_table_are_interpolated_apart(interpolation):
    # A table that is a product of a profile over rows and one over columns stays one.
    down, across = noise(5, seed=1), noise(5, seed=2)
    table = torch.einsum("h,w->hw", down, across).reshape(25, 1)
    found = table_at(table, 0, (7, 4), interpolation).view(7, 4)
    profiles = [
        table_at(one.repeat_interleave(5)[:, None], 0, (side, side), interpolation).view(side, -1)
        for one, side in ((down, 7), (across, 4))
    ]
    expected = profiles[0][:, :1] * profiles[1][:, 0]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_a_tower_of_any_grid_shares_its_tensors_and_equals_a_resized_one():
    vit = Vit(replace(CONFIG, cls=True)).initialise(generator=generator())
    free = of_any_grid(vit, "bicubic")
    assert free.config == replace(vit.config, interpolation="bicubic")
    assert free.positions.data_ptr() == vit.positions.data_ptr()
    for size in (24, 32, 12):
        pixels = noise(1, 3, size, size)
        expected = resized(vit, size, "bicubic")(pixels, [1])[1]
        for one, two in zip(free(pixels, [1])[1], expected, strict=True):
            assert torch.equal(one, two)
    assert free(noise(2, 3, 20, 8), [1])[1].patches.shape == (2, 10, 32)
    with pytest.raises(ConfigError, match=r"side 24 only.*Give --positions bicubic"):
        of_any_grid(vit, None)
    without = Vit(ROPE)
    assert of_any_grid(without, None) is without


def test_the_final_norm_changes_the_last_block_only():
    config = replace(CONFIG, cls=True, norm="rms", norm_eps=1e-3)
    plain = Vit(config).initialise(generator=generator())
    normed = Vit(replace(config, final_norm=True))
    scale = noise(32, seed=3)
    normed.load_state_dict(plain.state_dict() | {"norm_post.weight": scale}, strict=True)
    pixels = noise(1, 3, 24, 24)
    before, after = plain(pixels, [0, 1]), normed(pixels, [0, 1])
    assert torch.equal(before[0].patches, after[0].patches)
    for x, found in zip(before[1], after[1], strict=True):
        torch.testing.assert_close(found, x / (x.square().mean(-1, True) + 1e-3).sqrt() * scale)
    assert torch.equal(normed(pixels, [0])[0].prefix, before[0].prefix)


def test_attention_goes_through_the_fused_kernel(monkeypatch):
    calls = []
    kernel = functional.scaled_dot_product_attention

    def counted(*arguments, **options):
        calls.append(options)
        return kernel(*arguments, **options)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", counted)
    Vit(ROPE).initialise(generator=generator())(noise(1, 3, 24, 24), [1])
    assert calls == [{"attn_mask": None}] * 2  # a mask would rule out the flash kernel
