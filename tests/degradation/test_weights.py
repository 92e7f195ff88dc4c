import json
import os
import stat

import pytest
import torch
from safetensors.torch import save_file

from degradation.encoders.tiny import load_tiny, read_tiny, save_tiny, tiny_steps
from degradation.encoders.vit import Vit, VitConfig
from degradation.encoders.weights import digest, load_strict, read_safetensors, write_safetensors
from degradation.errors import ConfigError, WeightsError

CONFIG = VitConfig(size=16, patch=8, width=16, depth=2, heads=2, mlp=24, mean=(0.1, 0.2, 0.3))


def new_vit(seed: int = 0) -> Vit:
    return Vit(CONFIG).initialise(generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def folder(tmp_path):
    for seed, name in enumerate(["pre", "post", "step-000800", "step-000400"]):
        save_tiny(new_vit(seed), tmp_path, name)
    return tmp_path


def test_load_strict_takes_a_meta_module_and_leaves_nothing_on_meta():
    state = new_vit().state_dict()
    with torch.device("meta"):
        vit = Vit(CONFIG)
    load_strict(vit, state, "here")
    assert all(torch.equal(tensor, state[name]) for name, tensor in vit.state_dict().items())


def without_norm(state):
    del state["blocks.1.norm1.weight"]


def with_head(state):
    state["head.weight"] = torch.zeros(3)


def with_wide_cls(state):
    state["cls"] = torch.zeros(17)


def with_nan(state):
    state["positions"][0, 0] = torch.nan


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without_norm, r"1 missing \(blocks.1.norm1.weight\)"),
        (with_head, r"1 unexpected \(head.weight\)"),
        (with_wide_cls, r"1 misshapen \(cls \(17,\) instead of \(16,\)\)"),
        (with_nan, r"1 non-finite \(positions\)"),
    ],
)
def test_load_strict_refuses_a_state_that_does_not_fit(damage, message):
    vit = new_vit(1)
    state = new_vit().state_dict()
    damage(state)
    with pytest.raises(WeightsError, match=message):
        load_strict(vit, state, "here")
    assert torch.equal(vit.positions, new_vit(1).positions)  # nothing was loaded


def test_load_strict_lists_the_first_keys_only():
    with pytest.raises(WeightsError) as caught:
        load_strict(new_vit(), {}, "here")
    assert "28 missing (blocks.0.attn.proj.bias, " in str(caught.value)
    assert str(caught.value).count("blocks.") == 4


def test_read_widens_half_precision_and_keeps_integers(tmp_path):
    save_file({"a": torch.ones(2).half(), "b": torch.arange(3)}, tmp_path / "x.safetensors")
    state = read_safetensors(tmp_path / "x.safetensors")
    assert state["a"].dtype == torch.float32
    assert state["b"].dtype == torch.int64


@pytest.mark.parametrize("kept", [0, 4, 60, 500])
def test_read_refuses_a_truncated_file(tmp_path, kept):
    path = tmp_path / "x.safetensors"
    write_safetensors(new_vit().state_dict(), path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(WeightsError, match="truncated"):
        read_safetensors(path)


def test_read_refuses_an_absent_file(tmp_path):
    with pytest.raises(WeightsError, match="no such file"):
        read_safetensors(tmp_path / "x.safetensors")


def test_write_replaces_whole_files_and_leaves_nothing_beside(tmp_path):
    path = tmp_path / "new" / "x.safetensors"
    write_safetensors({"a": torch.zeros(2)}, path)
    write_safetensors({"a": torch.ones(2)}, path)
    assert [entry.name for entry in path.parent.iterdir()] == ["x.safetensors"]
    assert read_safetensors(path)["a"].tolist() == [1, 1]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_interrupted_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    write_safetensors({"a": torch.zeros(2)}, path)
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_safetensors({"a": torch.ones(2)}, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_digest_depends_on_everything_but_order_and_storage_type():
    state = {"a": torch.tensor([0.5, 2.0]), "b": torch.tensor([1, 2])}
    reference = digest(state)
    assert len(reference) == 64
    assert digest(dict(reversed(state.items()))) == reference
    assert digest({**state, "a": state["a"].half()}) == reference
    others = [
        {**state, "a": torch.tensor([0.5, 2.0000002])},
        {**state, "a": torch.tensor([[0.5, 2.0]])},
        {**state, "b": state["b"].int()},
        {"c": state["a"], "b": state["b"]},
        {"a": state["a"]},
    ]
    digests = {digest(other) for other in others} | {digest(state, heads=2), digest(state, heads=3)}
    assert len(digests | {reference}) == 8


def test_tiny_survives_the_way_to_disk(folder):
    encoder = load_tiny("pre", folder)
    kept = new_vit(0).state_dict()
    for name, tensor in read_tiny("pre", folder).state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, kept[name].half().float())
    assert (encoder.info.name, encoder.info.n_blocks, encoder.info.n_prefix) == ("tiny:pre", 2, 1)
    assert encoder.info.mean == (0.1, 0.2, 0.3)
    assert encoder.info.digest == load_tiny("pre", folder).info.digest
    assert encoder.info.digest != load_tiny("post", folder).info.digest


def test_tiny_digest_changes_with_the_architecture(folder):
    before = load_tiny("pre", folder).info.digest
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"activation": "quick_gelu"}))
    assert load_tiny("pre", folder).info.digest != before


def test_tiny_can_be_trained_on(folder):
    assert all(p.requires_grad for p in read_tiny("pre", folder).parameters())


def test_tiny_steps_are_in_order(folder, tmp_path_factory):
    assert tiny_steps(folder) == ["step-000400", "step-000800"]
    assert tiny_steps(tmp_path_factory.mktemp("empty")) == []


def test_tiny_says_what_the_folder_holds(folder, tmp_path_factory):
    with pytest.raises(WeightsError, match="found post, pre, step-000400, step-000800"):
        load_tiny("step-000500", folder)
    with pytest.raises(WeightsError, match="found no weights"):
        load_tiny("pre", tmp_path_factory.mktemp("empty"))


@pytest.mark.parametrize("change", [{"registers": 4}, {"width": "wide"}, {"activation": "relu"}])
def test_tiny_refuses_a_config_that_it_does_not_understand(folder, change):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(WeightsError, match=next(iter(change))):
        load_tiny("pre", folder)


def test_tiny_refuses_weights_of_another_configuration(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"depth": 3}))
    with pytest.raises(WeightsError, match="12 missing"):
        load_tiny("pre", folder)
    with pytest.raises(WeightsError, match="another configuration"):
        save_tiny(new_vit(), folder, "post")
    (folder / "config.json").write_text(json.dumps(config | {"width": 15}))
    with pytest.raises(ConfigError, match="2 heads"):
        load_tiny("pre", folder)


def test_save_tiny_refuses_what_overflows_float16(tmp_path):
    vit = new_vit()
    with torch.no_grad():
        vit.cls[0] = 1e5
    with pytest.raises(WeightsError, match="cls"):
        save_tiny(vit, tmp_path, "pre")
    assert list(tmp_path.iterdir()) == []
