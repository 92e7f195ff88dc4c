import hashlib
import json
import logging
import socket

import pytest
import torch
from safetensors.torch import save

from degradation.encoders.checkpoint import TensorFacts, open_checkpoint
from degradation.errors import ConfigError, WeightsError

VISUAL = ("visual.", "model.visual.")


def tower(state):
    return {name: tensor for name, tensor in state.items() if name.startswith("visual.")}


def saved(state, path, **options):
    torch.save(state, path, **options)
    return path.read_bytes()


@pytest.fixture
def torch_files(state, tmp_path):
    """Files of a checkpoint in two PyTorch shards."""
    shards = {"pytorch_model-00001-of-00002.bin": {"lm_head.weight": state["lm_head.weight"]}}
    shards["pytorch_model-00002-of-00002.bin"] = {
        name: tensor for name, tensor in state.items() if name != "lm_head.weight"
    }
    index = {"weight_map": {n: shard for shard, part in shards.items() for n in part}}
    files = {shard: saved(part, tmp_path / "x") for shard, part in shards.items()}
    return files | {
        "config.json": b"{}",
        "pytorch_model.bin.index.json": json.dumps(index).encode(),
    }


@pytest.mark.parametrize("layout", ["single", "sharded", "torch_files"])
def test_only_the_tower_is_read_from_any_layout(layout, state, write, same, request):
    folder = write(request.getfixturevalue(layout))
    checkpoint = open_checkpoint(str(folder), prefixes=VISUAL)
    assert checkpoint.tensors.keys() == tower(state).keys()
    assert checkpoint.tensors["visual.patch.weight"] == TensorFacts((16, 3, 2, 4, 4), "F16")
    assert checkpoint.tensors["visual.scale"] == TensorFacts((), "F64")
    names = list(checkpoint.tensors)[::-1]
    found = checkpoint.read(names)
    assert same(found, tower(state))
    assert list(found) == names
    assert checkpoint.read([]) == {}
    assert checkpoint.source == str(folder)
    assert checkpoint.revision is None


@pytest.mark.parametrize("layout", ["single", "sharded", "torch_files"])
def test_without_prefixes_everything_is_there(layout, state, write, same, request):
    checkpoint = open_checkpoint(str(write(request.getfixturevalue(layout))))
    assert same(checkpoint.read(list(checkpoint.tensors)), state)


def test_shards_without_wanted_tensors_are_not_opened(sharded, state, write, same):
    sharded["model-00001-of-00003.safetensors"] = b"not weights"
    checkpoint = open_checkpoint(str(write(sharded)), prefixes=VISUAL)
    assert same(checkpoint.read(list(checkpoint.tensors)), tower(state))
    assert sorted(checkpoint.files) == [
        "config.json",
        "model-00002-of-00003.safetensors",
        "model-00003-of-00003.safetensors",
        "model.safetensors.index.json",
    ]


def test_unwanted_shards_need_not_be_there(sharded, write):
    del sharded["model-00001-of-00003.safetensors"]
    folder = write(sharded)
    open_checkpoint(str(folder), prefixes=VISUAL)
    with pytest.raises(WeightsError, match=r"names a shard that is not there.*model-00001"):
        open_checkpoint(str(folder))


def test_files_carry_their_sha256(single, write):
    files = open_checkpoint(str(write(single))).files
    assert files == {
        name: "sha256:" + hashlib.sha256(data).hexdigest() for name, data in single.items()
    }


def test_a_digest_follows_a_change_of_the_file(single, write):
    folder = write(single)
    checkpoint = open_checkpoint(str(folder))
    before = checkpoint.files["config.json"]
    (folder / "config.json").write_bytes(b'{"other": 1}')
    assert checkpoint.files["config.json"] != before


def test_a_snapshot_of_a_hub_cache_tells_its_commit(single, tmp_path):
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / ("c" * 40)
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    for number, (name, data) in enumerate(single.items()):
        etag = str(number) * (64 if name.endswith("safetensors") else 40)
        (blobs / etag).write_bytes(data)
        (snapshot / name).symlink_to(f"../../blobs/{etag}")
    checkpoint = open_checkpoint(str(snapshot))
    assert checkpoint.revision == "c" * 40
    # The name of a blob is its digest: nothing has to be read for it.
    assert checkpoint.files == {
        "config.json": "etag:" + "0" * 40,
        "model.safetensors": "sha256:" + "1" * 64,
    }


def test_open_clip_files_go_with_their_configuration(state, write):
    files = {
        "open_clip_config.json": b'{"model_cfg": {}}',
        "config.json": b'{"model_type": "clip"}',
    }
    folder = write(files | {"open_clip_model.safetensors": save(state)})
    assert open_checkpoint(str(folder)).config == {"model_cfg": {}}
    write({"model.safetensors": save(state)})
    assert open_checkpoint(str(folder)).config == {"model_type": "clip"}
    chosen = open_checkpoint(str(folder), files=["open_clip_model.safetensors"])
    assert chosen.config == {"model_cfg": {}}


def test_named_files_are_read_together_with_the_configuration_beside_them(single, state, write):
    parts = {f"part/{n}.safetensors": save({n: x}) for n, x in tower(state).items()}
    folder = write(parts | {"part/config.json": b'{"part": 1}'} | single)
    checkpoint = open_checkpoint(str(folder), files=sorted(parts))
    assert checkpoint.config == {"part": 1}
    assert checkpoint.tensors.keys() == tower(state).keys()
    with pytest.raises(WeightsError, match=r"part/visual.scale.* holds visual\.scale again"):
        open_checkpoint(str(folder), files=["model.safetensors", "part/visual.scale.safetensors"])


def test_the_root_holds_folders_by_full_or_short_name(single, write, tmp_path, monkeypatch):
    short, full = write(single, "root/NAME"), tmp_path / "root/ORG/NAME"
    root = tmp_path / "root"
    assert open_checkpoint("ORG/NAME", root=root).source == str(short)
    write(single, "root/ORG/NAME")
    assert open_checkpoint("ORG/NAME", root=root).source == str(full)
    monkeypatch.setenv("SDIAG_WEIGHTS", str(root))
    assert open_checkpoint("ORG/NAME").source == str(full)


def test_a_folder_cannot_vouch_for_a_revision(single, write, caplog):
    with caplog.at_level(logging.WARNING):
        checkpoint = open_checkpoint(str(write(single)), revision="v1")
    assert "whether it is revision v1 is not known" in caplog.text
    assert checkpoint.revision is None


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("./nowhere", r"Expected a folder at nowhere, but there is none\. A repository"),
        ("a/b/c", "Expected a folder at a/b/c"),
        ("~/nowhere/at/all", "Expected a folder at /"),
        (
            "https://huggingface.co/ORG/NAME",
            "Expected a repository as ORG/NAME, but found the addr",
        ),
        ("NAME", "there is no folder 'NAME' here, and a repository has an owner"),
        ("ORG/NA ME", "'ORG/NA ME' is neither"),
    ],
)
def test_neither_a_folder_nor_a_repository(reference, message):
    with pytest.raises(ConfigError, match=message):
        open_checkpoint(reference, offline=True)


def test_a_file_or_a_root_that_is_none(single, write, tmp_path):
    path = write(single) / "model.safetensors"
    with pytest.raises(ConfigError, match=r"is a file\. Give the folder that holds it"):
        open_checkpoint(str(path))
    with pytest.raises(ConfigError, match=r"folder of checkpoints at ORG/NAME, but there is none"):
        open_checkpoint("ORG/NAME", root=tmp_path.__class__("ORG/NAME"))


def without_config(files):
    del files["config.json"]


def broken_config(files):
    files["config.json"] = b'{"model_type": '


def listed_config(files):
    files["config.json"] = b"[1]"


def pointer_config(files):
    files["config.json"] = b"\xff\xfe"


def without_weights(files):
    del files["model.safetensors"]


def truncated(files):
    files["model.safetensors"] = files["model.safetensors"][:-100]


def cut_in_the_header(files):
    files["model.safetensors"] = files["model.safetensors"][:100]


def git_lfs_pointer(files):
    files["model.safetensors"] = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"


def text_only(files):
    files["model.safetensors"] = save({"model.embed": torch.ones(2), "lm_head": torch.ones(2)})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without_config, r"Expected config.json or open_clip_config.json in .*found model.safe"),
        (broken_config, r"Expected JSON in .*config.json, but it cannot be read"),
        (listed_config, "Expected a JSON object in .*config.json, but found a list"),
        (pointer_config, r"Expected JSON in .*config.json, but it cannot be read"),
        (without_weights, r"Expected model.safetensors or .*, but found config.json"),
        (truncated, r"Expected [\d,]+ bytes in .*model.safetensors.* truncated"),
        (cut_in_the_header, r"Expected [\d,]+ bytes in .*model.safetensors.* truncated"),
        (git_lfs_pointer, "model.safetensors does not begin like one"),
        (text_only, r"tensors under visual. or model.visual. .*none of its 2 is: lm_head, model"),
    ],
)
def test_a_damaged_folder_is_refused_with_one_message(damage, message, single, write):
    damage(single)
    with pytest.raises(WeightsError, match=message):
        open_checkpoint(str(write(single)), prefixes=VISUAL)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"lm_head.weight": "model-00002-of-00003.safetensors"},
            "do not about 1 tensors, lm_head.weight in model-00002",
        ),
        (
            {"visual.new": "model-00003-of-00003.safetensors"},
            "about 1 tensors, visual.new in model",
        ),
        (
            {"visual.patch.weight": "model-00003-of-00003.safetensors"},
            "about 2 tensors, visual.patch.weight in model-00002",
        ),
        ({"visual.positions": "model-00009.safetensors"}, "shard that is not there.*model-00009"),
        ({"visual.positions": "../secret.safetensors"}, "names '../secret.safetensors' as a shard"),
        ({"visual.positions": "/etc/passwd"}, "names '/etc/passwd' as a shard"),
        ({"visual.positions": 3}, "names 3 as a shard"),
    ],
)
def test_an_index_that_lies_is_refused(change, message, sharded, write):
    index = json.loads(sharded["model.safetensors.index.json"])
    index["weight_map"] |= change
    sharded["model.safetensors.index.json"] = json.dumps(index).encode()
    with pytest.raises(WeightsError, match=message):
        open_checkpoint(str(write(sharded)))


@pytest.mark.parametrize("index", [{}, {"weight_map": {}}, {"weight_map": [1]}])
def test_an_index_without_a_map_is_refused(index, sharded, write):
    sharded["model.safetensors.index.json"] = json.dumps(index).encode()
    with pytest.raises(WeightsError, match="Expected a weight_map of tensors and shards"):
        open_checkpoint(str(write(sharded)))


def test_a_file_cut_after_it_was_opened_is_an_error_and_no_crash(single, write):
    folder = write(single)
    checkpoint = open_checkpoint(str(folder), prefixes=VISUAL)
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(WeightsError, match="truncated"):
        checkpoint.read(list(checkpoint.tensors))
    path.unlink()
    with pytest.raises(WeightsError, match="cannot be read: No such file"):
        checkpoint.read(list(checkpoint.tensors))


def test_unknown_names_are_refused(single, write):
    checkpoint = open_checkpoint(str(write(single)), prefixes=VISUAL)
    with pytest.raises(WeightsError, match=r"Expected lm_head.weight in .*no such tensors"):
        checkpoint.read(["visual.scale", "lm_head.weight"])


class Payload:
    """An object whose unpickling would leave a trace."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_pytorch_files_are_never_unpickled(write, tmp_path):
    trace = tmp_path / "trace"
    data = saved({"visual.a": torch.ones(2), "evil": Payload(trace)}, tmp_path / "x")
    folder = write({"config.json": b"{}", "pytorch_model.bin": data})
    with pytest.raises(WeightsError, match="other objects, which are never unpickled"):
        open_checkpoint(str(folder))
    assert not trace.exists()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda s, p: saved(s, p)[:-1000], "torch cannot map it .* truncated"),
        (lambda s, p: saved(s, p, _use_new_zipfile_serialization=False), "before PyTorch 1.6"),
        (lambda s, p: b"no weights" * 50, "torch cannot map it"),
        (lambda s, p: saved({"epoch": 3} | s, p), "holds a dict with other things"),
        (lambda s, p: saved(torch.ones(3), p), "holds a Tensor with other things"),
    ],
)
def test_an_unusable_pytorch_file_is_refused(make, message, state, write, tmp_path):
    data = make(state, tmp_path / "x")
    folder = write({"config.json": b"{}", "pytorch_model.bin": data})
    with pytest.raises(WeightsError, match=message):
        open_checkpoint(str(folder))


def test_a_pytorch_state_may_stand_in_a_training_checkpoint(state, write, same, tmp_path):
    state["visual.view"] = torch.arange(12.0).reshape(3, 4).T  # not contiguous
    data = saved({"epoch": 3, "state_dict": state}, tmp_path / "x")
    folder = write({"open_clip_config.json": b"{}", "open_clip_pytorch_model.bin": data})
    checkpoint = open_checkpoint(str(folder), prefixes=VISUAL)
    found = checkpoint.read(list(checkpoint.tensors))
    assert same(found, tower(state))
    assert found["visual.view"].is_contiguous()


def test_a_pytorch_file_is_mapped_anew_every_few_tensors(state, write, same, tmp_path, monkeypatch):
    monkeypatch.setattr("degradation.encoders.checkpoint.files.MAPPED", 1000)
    maps = []
    load = torch.load
    monkeypatch.setattr(torch, "load", lambda *a, **k: maps.append(k) or load(*a, **k))
    folder = write({"config.json": b"{}", "pytorch_model.bin": saved(state, tmp_path / "x")})
    checkpoint = open_checkpoint(str(folder))
    assert same(checkpoint.read(list(state)), state)
    assert 3 < len(maps) <= len(state) + 1
    assert all(k["weights_only"] and k["mmap"] for k in maps)


def test_reading_a_folder_makes_no_connection(single, write, monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", None)
    checkpoint = open_checkpoint(str(write(single)))
    checkpoint.read(list(checkpoint.tensors))
    assert len(checkpoint.files) == 2
