"""Reading from a hub: what is asked of it, what is kept, and what can be read offline after."""

import hashlib
import json
import threading

import pytest
import torch
from huggingface_hub import hf_hub_download
from safetensors import safe_open
from safetensors.torch import load, save

from degradation.encoders.checkpoint import open_checkpoint
from degradation.errors import WeightsError

REPO = "Org/Model"
MAIN = "a" * 40
OLD = "b" * 40
TOWER = ("visual.",)


def tower(state):
    return {name: tensor for name, tensor in state.items() if name.startswith("visual.")}


def read_tower(**options):
    checkpoint = open_checkpoint(REPO, prefixes=TOWER, **options)
    return checkpoint, checkpoint.read(list(checkpoint.tensors))


def kept(tmp_path):
    folder = tmp_path / "home" / "assets" / "sdiag" / "Org--Model" / MAIN
    return sorted(path for path in folder.iterdir() if path.suffix != ".lock")


@pytest.fixture
def large(state):
    """A checkpoint whose tower is a small part of its one file, in more than one piece."""
    state["model.embed"] = torch.zeros(300_000)
    return {"config.json": b'{"model_type": "x"}', "model.safetensors": save(state)}


def test_of_a_single_file_only_header_and_tower_are_fetched(hub, large, state, same, tmp_path):
    hub.add(REPO, large)
    checkpoint, found = read_tower()
    assert same(found, tower(state))
    assert checkpoint.source == f"{REPO}@{MAIN[:12]}"
    assert checkpoint.revision == MAIN
    assert checkpoint.config == {"model_type": "x"}
    first, *rest = hub.spans("model.safetensors")
    assert first == (0, 128 * 1024)
    wanted = sum(tensor.nbytes for tensor in tower(state).values())
    assert sum(stop - start for start, stop in rest) == wanted
    # What is kept is an ordinary safetensors file of the tower that says where it is from.
    excerpt, _ = kept(tmp_path)
    assert same(load(excerpt.read_bytes()), tower(state))
    with safe_open(excerpt, "pt") as file:
        assert file.metadata()["repo"] == REPO
        assert file.metadata()["revision"] == MAIN
        assert file.metadata()["etag"] == hashlib.sha256(large["model.safetensors"]).hexdigest()


def test_revision_and_digests_are_recorded(hub, large):
    hub.add(REPO, large)
    checkpoint, _ = read_tower()
    weights = hashlib.sha256(large["model.safetensors"]).hexdigest()
    config = hashlib.sha1(large["config.json"]).hexdigest()
    assert checkpoint.files == {
        "config.json": f"etag:{config}",
        "model.safetensors": f"sha256:{weights}",
    }


def test_a_header_longer_than_the_first_request_is_fetched_on(hub, state, same):
    state |= {f"model.{i:05}.a_long_name_of_a_small_parameter": torch.ones(1) for i in range(2000)}
    hub.add(REPO, {"config.json": b"{}", "model.safetensors": save(state)})
    _, found = read_tower()
    assert same(found, tower(state))
    first, second, *_ = hub.spans("model.safetensors")
    assert first[1] == second[0]


def test_once_fetched_nothing_is_asked_again_and_offline_works(hub, large, state, same):
    hub.add(REPO, large)
    before, _ = read_tower()
    hub.requests.clear()
    for offline in (False, True):
        checkpoint, found = read_tower(offline=offline)
        assert same(found, tower(state))
        assert checkpoint.files == before.files
        assert checkpoint.revision == MAIN
    assert not hub.requests


def test_other_tensors_are_fetched_apart(hub, large, state, same, tmp_path):
    hub.add(REPO, large)
    checkpoint, _ = read_tower()
    assert same(checkpoint.read(["visual.scale"]), {"visual.scale": state["visual.scale"]})
    assert len(kept(tmp_path)) == 3
    offline = open_checkpoint(REPO, offline=True)
    with pytest.raises(WeightsError, match=f"hf download {REPO} --revision {MAIN} model.safe"):
        offline.read(["lm_head.weight"])
    assert same(checkpoint.read(["visual.scale"]), {"visual.scale": state["visual.scale"]})


def test_of_shards_only_those_with_the_tower_are_touched(hub, sharded, state, same):
    hub.add(REPO, sharded)
    checkpoint, found = read_tower()
    assert same(found, tower(state))
    assert sorted(checkpoint.files) == [
        "config.json",
        "model-00002-of-00003.safetensors",
        "model-00003-of-00003.safetensors",
        "model.safetensors.index.json",
    ]
    assert "model-00001-of-00003.safetensors" not in {r.name for r in hub.requests}
    hub.requests.clear()
    assert same(read_tower(offline=True)[1], found)
    assert not hub.requests


def test_a_pytorch_file_is_fetched_whole_and_only_once(hub, state, same, tmp_path):
    path = tmp_path / "x.bin"
    torch.save(state, path)
    hub.add(REPO, {"config.json": b"{}", "pytorch_model.bin": path.read_bytes()})
    checkpoint, found = read_tower()
    assert same(found, tower(state))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert checkpoint.files["pytorch_model.bin"] == f"sha256:{digest}"
    assert hub.spans("pytorch_model.bin") == [(0, path.stat().st_size)]
    hub.requests.clear()
    assert same(read_tower(offline=True)[1], found)
    assert not hub.requests


def test_the_hubs_own_cache_is_used_where_it_has_the_file(hub, large, state, same, tmp_path):
    hub.add(REPO, large)
    for name in large:
        hf_hub_download(REPO, name)
    hub.requests.clear()
    checkpoint, found = read_tower()
    assert same(found, tower(state))
    assert not hub.requests
    assert checkpoint.revision == MAIN
    digest = hashlib.sha256(large["model.safetensors"]).hexdigest()
    assert checkpoint.files["model.safetensors"] == f"sha256:{digest}"
    assert same(read_tower(offline=True)[1], found)


def test_a_root_comes_before_the_hub(hub, large, write):
    hub.add(REPO, large)
    root = write(large, "root/Org/Model").parents[1]
    assert open_checkpoint(REPO, root=root).source == str(root / REPO)
    assert not hub.requests


def test_the_users_token_goes_to_the_hub_and_nowhere_else(hub, large):
    hub.add(REPO, large)
    read_tower()
    for request in hub.requests:
        assert request.authorised == request.host.startswith("127.0.0.1"), request
    assert {request.host.split(":")[0] for request in hub.requests} == {"127.0.0.1", "localhost"}


def test_every_file_is_of_one_commit(hub, large, state, same):
    hub.add(REPO, large)
    hub.add(REPO, large | {"config.json": b'{"old": 1}'}, commit=OLD)
    hub.repos[REPO].refs["v1"] = OLD
    assert read_tower(revision="v1")[0].revision == OLD
    assert read_tower(revision=OLD)[0].config == {"old": 1}
    checkpoint, _ = read_tower()
    assert checkpoint.revision == MAIN
    # A branch that moves on while its first commit is here: stay unless told otherwise.
    newer = "d" * 40
    hub.add(REPO, large | {"config.json": b'{"new": 1}'}, commit=newer)
    hub.repos[REPO].refs["main"] = newer
    assert read_tower()[0].revision == MAIN
    assert read_tower(revision="main")[0].config == {"new": 1}
    # Offline the name means what the cache last saw.
    assert read_tower(revision="v1", offline=True)[0].revision == OLD
    assert read_tower(revision="main", offline=True)[0].revision == newer


def test_a_repository_of_open_clip(hub, state, same):
    hub.add(
        REPO, {"open_clip_config.json": b'{"a": 1}', "open_clip_model.safetensors": save(state)}
    )
    checkpoint, found = read_tower()
    assert same(found, tower(state))
    assert checkpoint.config == {"a": 1}
    assert same(read_tower(offline=True)[1], found)


def test_named_files_in_a_subfolder(hub, large, state, same):
    files = {f"visual_encoder/{name}": data for name, data in large.items()}
    hub.add(REPO, files | {"config.json": b"{}"})
    named = {"files": ["visual_encoder/model.safetensors"]}
    checkpoint, found = read_tower(**named)
    assert same(found, tower(state))
    assert checkpoint.config == {"model_type": "x"}
    assert checkpoint.revision == MAIN
    assert same(read_tower(offline=True, **named)[1], found)


def test_two_at_once_fetch_once(hub, large, state, same):
    hub.add(REPO, large)
    checkpoint = open_checkpoint(REPO, prefixes=TOWER)
    hub.requests.clear()
    results = []
    readers = [
        threading.Thread(target=lambda: results.append(checkpoint.read(list(checkpoint.tensors))))
        for _ in range(4)
    ]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert len(results) == 4
    assert all(same(found, tower(state)) for found in results)
    spans = hub.spans("model.safetensors")
    assert len(spans) == len(set(spans))


@pytest.mark.parametrize("offline", ["argument", "environment"])
def test_offline_without_anything_says_how_to_download(hub, large, monkeypatch, offline):
    hub.add(REPO, large)
    if offline == "environment":
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        WeightsError, match=f"hf download {REPO} --include '.*' --include"
    ) as caught:
        open_checkpoint(REPO, offline=True if offline == "argument" else None)
    assert "home/hub" in str(caught.value)
    assert not hub.requests


def test_offline_with_a_part_names_the_missing_shards(hub, sharded):
    hub.add(REPO, sharded)
    hf_hub_download(REPO, "config.json")
    hf_hub_download(REPO, "model.safetensors.index.json")
    shards = "model-00002-of-00003.safetensors model-00003-of-00003.safetensors"
    with pytest.raises(WeightsError, match=f"hf download {REPO} --revision {MAIN} {shards}`"):
        read_tower(offline=True)
    hub.requests.clear()
    with pytest.raises(WeightsError, match=f"hf download {REPO} --revision {MAIN} "):
        open_checkpoint(REPO, files=["model.safetensors"], offline=True)
    assert not hub.requests


def test_an_index_of_the_hub_that_names_a_missing_shard(hub, sharded):
    del sharded["model-00002-of-00003.safetensors"]
    hub.add(REPO, sharded)
    with pytest.raises(
        WeightsError, match=r"names a shard that is not there.*model-00002.*holds no"
    ):
        read_tower()


def test_headers_of_the_hub_are_checked(hub, large):
    data = large["model.safetensors"]
    hub.add(REPO, large | {"model.safetensors": data[:-4]})
    with pytest.raises(WeightsError, match=r"Expected [\d,]+ bytes in Org/Model@.*truncated"):
        read_tower()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["lm_head.weight"]["shape"] = [1]
    text = json.dumps(header, separators=(",", ":")).encode().ljust(length)
    hub.add(REPO, large | {"model.safetensors": data[:8] + text + data[8 + length :]})
    with pytest.raises(
        WeightsError, match=r"the header of Org/Model@.* lies: lm_head.weight is F32"
    ):
        read_tower()
