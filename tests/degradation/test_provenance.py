"""Where a tower comes from: planted descent, chance, equality, and names that moved."""

import gc
import weakref
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from degradation import weight_distance
from degradation.encoders.frozen import FrozenEncoder
from degradation.encoders.registry import load_encoder
from degradation.encoders.shipped import tiny_steps
from degradation.encoders.tiny import frozen_vit
from degradation.encoders.vit import Vit, VitConfig
from degradation.errors import ConfigError
from degradation.provenance import Check, check_same, trace
from degradation.weight_distance import KINDS, RELATED, Comparison, Sums, compare

CONFIG = VitConfig(size=32, patch=8, width=32, depth=3, heads=4, mlp=64, pre_norm=True)
State = dict[str, Tensor]


def tower(seed: int, config: VitConfig = CONFIG) -> Vit:
    """A tower whose every tensor is drawn, norms near 1 as after training."""
    generator = torch.Generator().manual_seed(seed)
    vit = Vit(config).initialise(generator=generator)
    with torch.no_grad():
        for parameter in vit.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return vit


def drifted(vit: Vit, amount: float, seed: int) -> Vit:
    """The tower plus noise of `amount` times each tensor's own size."""
    generator = torch.Generator().manual_seed(seed)
    other = Vit(vit.config)
    other.load_state_dict(vit.state_dict())
    with torch.no_grad():
        for parameter in other.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter += amount * parameter.norm() / noise.norm() * noise
    return other


def named(vit: Vit, name: str) -> FrozenEncoder:
    return frozen_vit(vit, name=name)


def flat(state: State) -> np.ndarray:
    return np.concatenate([tensor.numpy().astype(np.float64).ravel() for tensor in state.values()])


@pytest.fixture
def base() -> Vit:
    return tower(1)


def test_a_fine_tuned_tower_descends_from_its_base(base: Vit) -> None:
    post = named(drifted(base, 0.3, seed=5), "post")
    found = trace(post, [named(tower(2), "other"), named(base, "base"), named(tower(3), "third")])
    assert found.origins == ("base",)
    assert found.comparisons[0].candidate == "base"
    nearest, runner_up = found.comparisons[:2]
    assert nearest.total.distance == pytest.approx(0.3, abs=0.001)
    assert found.margin == pytest.approx(1 - nearest.total.share / runner_up.total.share)
    assert 0.7 < found.margin < 0.85
    assert all(sums.distance == pytest.approx(0.3, abs=0.01) for sums in by_depth(nearest))


def by_depth(one: Comparison) -> list[Sums]:
    return [one.sums(lambda record, at=at: record.block == at) for at in one.depths]


def test_distances_are_those_of_a_direct_sum(base: Vit) -> None:
    post, pre = drifted(base, 0.4, seed=6).state_dict(), base.state_dict()
    total = compare(post, pre, candidate="base").total
    a, b = flat(post), flat(pre)
    assert total.distance == pytest.approx(np.linalg.norm(a - b) / np.linalg.norm(b), rel=1e-12)
    assert total.cosine == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), rel=1e-12)
    assert total.n == a.size


def test_the_floor_is_what_shuffled_tensors_show(base: Vit) -> None:
    # Means away from zero, so that the floor differs from that of independent noise.
    post = {name: tensor + 0.5 for name, tensor in base.state_dict().items()}
    pre = tower(7).state_dict()
    rng = np.random.default_rng(0)
    squared = []
    for _ in range(200):
        gaps = [
            post[name].numpy().ravel().astype(np.float64) - rng.permutation(tensor.numpy().ravel())
            for name, tensor in pre.items()
        ]
        squared.append(sum(gap @ gap for gap in gaps))
    expected = np.sqrt(np.mean(squared)) / np.linalg.norm(flat(pre))
    assert compare(post, pre, candidate="x").total.floor == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_unrelated_towers_descend_from_none_whatever_their_scale(base: Vit, scale: float) -> None:
    other = tower(9)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter *= scale
    found = trace(named(base, "post"), [named(other, "other")])
    (one,) = found.comparisons
    assert one.total.share == pytest.approx(1, abs=0.02)
    assert one.ranked
    assert found.origins == ()
    # The raw cosine would tell otherwise: norms near 1 resemble each other in any two towers.
    assert one.total.cosine > 0.2


def test_a_tower_far_along_still_descends_and_one_of_mere_noise_does_not(base: Vit) -> None:
    near = compare(drifted(base, 2.0, 8).state_dict(), base.state_dict(), candidate="base")
    far = compare(drifted(base, 30.0, 8).state_dict(), base.state_dict(), candidate="base")
    assert near.related
    assert near.total.share < RELATED < far.total.share
    assert not far.related


def test_identical_weights_are_said_to_be(base: Vit) -> None:
    found = trace(named(base, "post"), [named(tower(2), "other"), named(base, "pre")])
    (one, other) = found.comparisons
    assert (one.candidate, one.identical, one.same_weights) == ("pre", True, True)
    assert (one.total.distance, one.total.share) == (0.0, 0.0)
    assert one.total.cosine == pytest.approx(1, rel=1e-12)
    assert one.counts["identical"] == len(base.state_dict()) == sum(one.counts.values())
    assert found.margin == 1.0
    assert not other.identical


def test_equal_weights_under_other_switches_are_not_identical(base: Vit) -> None:
    other = Vit(replace(CONFIG, activation="quick_gelu"))
    other.load_state_dict(base.state_dict())
    (one,) = trace(named(other, "post"), [named(base, "pre")]).comparisons
    assert one.same_weights
    assert not one.identical
    assert one.switches == {"activation": ("gelu", "quick_gelu")}


def test_two_names_for_the_nearest_are_both_origins(base: Vit) -> None:
    post = named(drifted(base, 0.1, 3), "post")
    found = trace(post, [named(base, "a"), named(tower(2), "far"), named(base, "b")])
    assert found.origins == ("a", "b")
    assert found.comparisons[2].candidate == "far"
    assert found.margin > 0.8
    assert trace(post, [named(base, "a")]).margin is None


def test_one_block_left_untouched_is_found(base: Vit) -> None:
    post = drifted(base, 0.2, seed=4)
    kept = {name: t for name, t in base.state_dict().items() if name.startswith("blocks.1.")}
    post.load_state_dict(post.state_dict() | kept)
    one = compare(post.state_dict(), base.state_dict(), candidate="pre")
    assert one.counts["identical"] == len(kept)
    assert [sums.distance == 0 for sums in by_depth(one)] == [False, False, True, False]
    checks = check_same(one, ("blocks.1.", "blocks.2.", "", "blocks.9."))
    assert [check.passed for check in checks] == [True, False, False, False]
    assert checks[0] == Check("blocks.1.", n=len(kept), same=len(kept), rounded=0)
    assert (checks[2].n, checks[2].same) == (len(base.state_dict()), len(kept))


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_a_tower_stored_in_half_precision_is_rounded(base: Vit, half: torch.dtype) -> None:
    post = {name: tensor.to(half).float() for name, tensor in base.state_dict().items()}
    one = compare(post, base.state_dict(), candidate="pre")
    assert one.counts["rounded"] + one.counts["identical"] == len(post)
    assert one.counts["rounded"] > len(post) / 2
    assert 0 < one.total.distance < 0.005
    (check,) = check_same(one, ("",))
    assert check.passed
    assert check.rounded == one.counts["rounded"]
    assert not one.identical


def test_permuted_names_are_found_and_do_not_hide_the_origin(base: Vit) -> None:
    pre = base.state_dict()
    turn = {f"blocks.{i}.": f"blocks.{(i + 1) % 3}." for i in range(3)}
    post = {turn.get(name[:9], name[:9]) + name[9:]: tensor for name, tensor in pre.items()}
    one = compare(post, pre, candidate="pre")
    in_blocks = [name for name in pre if name.startswith("blocks.")]
    assert one.counts["renamed"] == len(in_blocks)
    assert one.counts["identical"] == len(pre) - len(in_blocks)
    origins = {record.name: record.origin for record in one.tensors if record.origin}
    assert origins["blocks.1.attn.qkv.weight"] == "blocks.0.attn.qkv.weight"
    assert one.related
    assert one.total.distance == 0
    assert not one.same_weights


def test_a_constant_tensor_is_not_evidence_of_a_new_name() -> None:
    one = compare(
        {"blocks.0.norm1.bias": torch.zeros(8)},
        {"blocks.0.norm2.bias": torch.zeros(8)},
        candidate="pre",
    )
    assert [record.state for record in one.tensors] == ["post only", "pre only"]


def test_absent_and_misshapen_tensors_are_counted_and_left_out(base: Vit) -> None:
    shallow = drifted(tower(1, replace(CONFIG, size=48)), 0.1, 2).state_dict()
    shallow = {name: t for name, t in shallow.items() if not name.startswith("blocks.2.")}
    pre = {name: tensor for name, tensor in base.state_dict().items() if name != "cls"}
    one = compare(shallow, pre, candidate="pre")
    states = {record.name: record.state for record in one.tensors}
    assert states["positions"] == "misshapen"
    assert states["cls"] == "post only"
    assert {name for name, state in states.items() if state == "pre only"} == {
        name for name in pre if name.startswith("blocks.2.")
    }
    aligned = sum(r.n for r in one.tensors if r.state == "changed")
    whole = sum(tensor.numel() for tensor in shallow.values())
    assert one.coverage == aligned / whole
    assert one.depths == [None, 0, 1]


def test_another_architecture_cannot_be_ranked(base: Vit) -> None:
    wide = tower(1, replace(CONFIG, width=48))
    found = trace(named(base, "post"), [named(wide, "wide"), named(tower(2), "unrelated")])
    assert [one.candidate for one in found.comparisons] == ["unrelated", "wide"]
    assert found.comparisons[1].coverage < 0.01
    assert not found.comparisons[1].ranked
    assert found.origins == ()
    assert found.margin is None


def test_kinds_and_blocks_of_canonical_names() -> None:
    config = replace(CONFIG, layer_scale=True, patch_norm=True, stem=((8, 3, 2),))
    one = compare(Vit(config).state_dict(), {}, candidate="none")
    kinds = {record.name: (record.block, record.kind) for record in one.tensors}
    assert kinds["patch_embed.weight"] == kinds["stem.0.bias"] == (None, "patch embedding")
    assert kinds["cls"] == kinds["positions"] == (None, "positions")
    assert kinds["norm_pre.bias"] == kinds["patch_norm.weight"] == (None, "norms")
    assert kinds["blocks.2.attn.proj.bias"] == (2, "attention")
    assert kinds["blocks.0.mlp.fc1.weight"] == (0, "mlp")
    assert kinds["blocks.1.norm2.weight"] == kinds["blocks.1.scale1"] == (1, "norms")
    assert {kind for _, kind in kinds.values()} == set(KINDS)
    assert (one.coverage, one.ranked, one.total) == (0.0, False, Sums())


def test_pieces_of_a_tensor_add_up(base: Vit, monkeypatch: pytest.MonkeyPatch) -> None:
    post, pre = drifted(base, 0.4, seed=6).state_dict(), base.state_dict()
    whole = compare(post, pre, candidate="pre").total
    monkeypatch.setattr(weight_distance, "PIECE", 7)
    pieces = compare(post, pre, candidate="pre").total
    assert pieces.n == whole.n
    assert pieces.distance == pytest.approx(whole.distance, rel=1e-12)
    assert pieces.floor == pytest.approx(whole.floor, rel=1e-12)


@given(
    st.integers(1, 40),
    st.integers(0, 2**32 - 1),
    st.sampled_from([1e-20, 1e-3, 1.0, 1e6]),
)
def test_sums_obey_the_law_of_cosines(n: int, seed: int, scale: float) -> None:
    a, b = torch.randn(2, n, generator=torch.Generator().manual_seed(seed)) * scale
    sums = compare({"x": a}, {"x": b}, candidate="b").total
    assert sums.difference == pytest.approx(
        sums.post + sums.pre - 2 * sums.product, rel=1e-9, abs=1e-12 * scale**2
    )
    assert -1 - 1e-12 <= sums.cosine <= 1 + 1e-12
    assert sums.floor >= 0


def test_zeros_give_numbers_and_no_error() -> None:
    zero, one = torch.zeros(4), torch.ones(4)
    assert compare({"x": zero}, {"x": zero}, candidate="c").total.distance == 0
    assert compare({"x": one}, {"x": zero}, candidate="c").total.distance == float("inf")
    assert np.isnan(compare({"x": one}, {"x": zero}, candidate="c").total.cosine)
    empty = torch.zeros(0)
    assert compare({"x": empty}, {"x": empty}, candidate="c").counts["identical"] == 1


def test_candidates_are_held_one_at_a_time(base: Vit) -> None:
    seen: list[weakref.ref] = []

    def candidates() -> Iterator[FrozenEncoder]:
        for seed in (2, 3, 4):
            gc.collect()
            assert not any(one() for one in seen), "an earlier candidate is still held"
            encoder = named(tower(seed), f"c{seed}")
            seen.append(weakref.ref(encoder))
            yield encoder
            del encoder

    assert len(trace(named(base, "post"), candidates()).comparisons) == 3


def test_the_embedded_pair_descends_from_its_last_checkpoint() -> None:
    names = ["tiny:pre", *(f"tiny:{step}" for step in tiny_steps())]
    found = trace(load_encoder("tiny:post"), map(load_encoder, names))
    assert [one.candidate for one in found.comparisons] == names[::-1]
    assert found.origins == (names[-1],)
    assert all(one.related for one in found.comparisons)


def test_what_cannot_be_compared_is_refused(base: Vit) -> None:
    post = named(base, "post")
    with pytest.raises(ConfigError, match="--candidate"):
        trace(post, [])
    with pytest.raises(ConfigError, match=r"rotation:post is a PlantedEncoder.*catalogue name"):
        trace(post, [load_encoder("rotation:post")])
    with pytest.raises(ConfigError, match="identity:post"):
        trace(load_encoder("identity:post"), [post])
