"""A hub, a network and a disk that fail: what is tried again, kept, refused, and said."""

import errno
import json
import logging
import shutil
from collections import namedtuple

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save

from degradation.encoders.checkpoint import fetch, open_checkpoint
from degradation.errors import WeightsError

REPO = "Org/Model"
MAIN = "a" * 40


@pytest.fixture
def files():
    """A checkpoint whose tower is one piece of 400 kB within its one file."""
    g = torch.Generator().manual_seed(0)
    state = {"model.embed": torch.randn(300_000, generator=g)}
    state["visual.weight"] = torch.randn(100_000, generator=g)
    return {"config.json": b"{}", "model.safetensors": save(state)}


@pytest.fixture
def opened(hub, files):
    """The checkpoint, opened before anything fails."""
    hub.add(REPO, files)
    checkpoint = open_checkpoint(REPO, prefixes=["visual."])
    hub.requests.clear()
    return checkpoint


def read(checkpoint):
    return checkpoint.read(["visual.weight"])["visual.weight"]


def expected():
    g = torch.Generator().manual_seed(0)
    torch.randn(300_000, generator=g)
    return torch.randn(100_000, generator=g)


def kept(tmp_path, pattern):
    return sorted((tmp_path / "home" / "assets").rglob(pattern))


def test_a_busy_hub_is_asked_again_after_longer_and_longer_waits(hub, opened, caplog):
    hub.faults.extend(["503", "503", "503", "ok"])
    with caplog.at_level(logging.WARNING):
        assert torch.equal(read(opened), expected())
    assert hub.waits == [1, 2, 4]
    assert "the hub answers 503; trying again in 4 s" in caplog.text


def test_a_hub_that_names_a_time_is_asked_again_then(hub, opened):
    hub.faults.extend(["429 7", "429 9999", "ok"])
    assert torch.equal(read(opened), expected())
    assert hub.waits == [7, 60]


def test_a_silent_connection_is_left_and_goes_on(hub, opened, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.3)
    hub.faults.extend(["hang 5000", "ok"])
    assert torch.equal(read(opened), expected())
    hub.released.set()
    (first, last), second = hub.spans("model.safetensors")
    assert second == (first + 5000, last)


def test_a_hub_that_stays_busy_is_given_up_with_a_message(hub, opened, tmp_path):
    hub.faults.extend(["503"] * 6)
    with pytest.raises(
        WeightsError, match=r"hub answers 503\. What has arrived is kept: run the sam"
    ):
        read(opened)
    assert hub.waits == [1, 2, 4, 8, 16]
    assert not kept(tmp_path, "model-*.safetensors")
    assert torch.equal(read(opened), expected())


def test_a_broken_connection_goes_on_where_it_broke(hub, opened):
    hub.faults.extend(["cut 5000", "cut 70000", "ok"])
    assert torch.equal(read(opened), expected())
    (first, last), second, third = hub.spans("model.safetensors")
    assert second == (first + 5000, last)
    assert third == (first + 75000, last)
    assert hub.waits == []  # bytes arrived, so the network was there


def test_a_connection_that_breaks_before_the_first_byte_is_waited_for(hub, opened):
    hub.faults.extend(["cut 0", "cut 0", "ok"])
    assert torch.equal(read(opened), expected())
    assert hub.waits == [1, 2]


def test_a_later_run_goes_on_where_an_earlier_one_failed(hub, opened, tmp_path):
    hub.faults.extend(["cut 123456", *["503"] * 6])
    with pytest.raises(WeightsError, match="run the same command again to go on"):
        read(opened)
    (part,) = kept(tmp_path, "*.part")
    assert not kept(tmp_path, "model-*.safetensors")
    hub.requests.clear()
    again = open_checkpoint(REPO, prefixes=["visual."])
    assert torch.equal(read(again), expected())
    ((first, last),) = hub.spans("model.safetensors")
    assert last - first == 400_000 - 123_456
    assert not part.exists()


def test_a_part_that_is_not_the_beginning_of_the_whole_is_begun_anew(hub, opened, tmp_path):
    hub.faults.extend(["cut 1000", *["503"] * 6])
    with pytest.raises(WeightsError):
        read(opened)
    (part,) = kept(tmp_path, "*.part")
    part.write_bytes(b"x" * 20)
    assert torch.equal(read(opened), expected())


@pytest.mark.parametrize("fault", ["etag", "size"])
def test_a_file_that_changes_between_ranges_is_refused_and_forgotten(hub, opened, tmp_path, fault):
    hub.faults.extend(["cut 5000", fault])
    with pytest.raises(WeightsError, match="but now the hub answers with etag"):
        read(opened)
    assert not kept(tmp_path, "*.part")
    assert not kept(tmp_path, "*.json")
    again = open_checkpoint(REPO, prefixes=["visual."])
    assert torch.equal(read(again), expected())


def test_a_file_that_became_too_short_for_the_range_is_refused(hub, opened, files):
    hub.repos[REPO].commits[MAIN]["model.safetensors"] = files["model.safetensors"][:1000]
    with pytest.raises(WeightsError, match="but now the hub answers with etag"):
        read(opened)


def test_a_server_without_ranges_is_not_read_to_the_end(hub, opened):
    hub.faults.append("whole")
    with pytest.raises(
        WeightsError, match="gives no byte ranges: download the whole file with `hf"
    ):
        read(opened)


def test_an_empty_answer_is_not_asked_for_for_ever(hub, opened):
    hub.faults.append("empty")
    with pytest.raises(WeightsError, match="but the answer was empty"):
        read(opened)


def test_a_whole_file_that_is_not_what_the_hub_says_is_refused(hub, tmp_path, monkeypatch):
    path = tmp_path / "x.bin"
    torch.save({"visual.weight": torch.ones(1000)}, path)
    hub.add(REPO, {"config.json": b"{}", "pytorch_model.bin": path.read_bytes()})
    genuine = fetch.append_range

    def flipped(facts, start, stop, sink):
        genuine(facts, start, stop, lambda data: sink(bytes([data[0] ^ 1]) + data[1:]))

    monkeypatch.setattr(fetch, "append_range", flipped)
    with pytest.raises(WeightsError, match=r"but what arrived has .* It was removed"):
        open_checkpoint(REPO)
    assert not kept(tmp_path, "*.bin")
    assert not kept(tmp_path, "*.part")
    assert not kept(tmp_path, "*.json")


def test_a_download_without_room_is_not_begun(hub, opened, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**6, 10**6 - 1000, 1000))
    with pytest.raises(
        WeightsError, match=r"Expected 0.4 MB of room in .* found 0.0 MB. Make room"
    ):
        read(opened)
    assert not hub.requests
    assert not kept(tmp_path, "model-*.safetensors")


def test_a_disk_that_fills_up_keeps_the_part_and_nothing_else(hub, opened, tmp_path, monkeypatch):
    genuine = fetch.append_range

    def filling(facts, start, stop, sink):
        genuine(facts, start, start + 5000, sink)
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(fetch, "append_range", filling)
        with pytest.raises(WeightsError, match=r"no room for Org/Model in .*home .*set HF_HOME"):
            read(opened)
    assert len(kept(tmp_path, "*.part")) == 1
    assert not kept(tmp_path, "model-*.safetensors")
    assert torch.equal(read(opened), expected())


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (403, "GatedRepo", r"is gated: .*Accept it at http.*/Org/Model, run `hf auth login`"),
        (401, "RepoNotFound", r"Expected a repository Org/Model on .*Check the spelling"),
        (403, "", "refuses to give Org/Model .*hf auth login"),
        (404, "RevisionNotFound", r"Expected revision main in Org/Model, but there is none"),
        (500, "", r"is not in the cache and http.* cannot be reached \(the hub answers 500\)"),
    ],
)
def test_a_hub_that_refuses_is_explained(hub, files, tmp_path, status, code, message):
    hub.add(REPO, files, error=(status, code))
    with pytest.raises(WeightsError, match=message):
        open_checkpoint(REPO)
    assert not kept(tmp_path, "*")


def test_a_repository_that_closes_after_it_was_opened(hub, opened):
    hub.repos[REPO].error = (403, "GatedRepo")
    with pytest.raises(WeightsError, match="is gated"):
        read(opened)


def test_missing_repositories_revisions_and_files(hub, files):
    with pytest.raises(WeightsError, match="nor a folder of that name here"):
        open_checkpoint("Org/Other")
    hub.add(REPO, files)
    with pytest.raises(WeightsError, match="Expected revision v9 in Org/Model"):
        open_checkpoint(REPO, revision="v9")
    with pytest.raises(WeightsError, match=f"Expected revision {'9' * 40} in Org/Model"):
        open_checkpoint(REPO, revision="9" * 40)
    with pytest.raises(WeightsError, match=r"Expected other.bin in Org/Model@.*holds none"):
        open_checkpoint(REPO, files=["other.bin"])
    hub.add("Org/Bare", {"README.md": b""})
    with pytest.raises(
        WeightsError, match=r"Expected config.json or open_clip_config.json in Org/B"
    ):
        open_checkpoint("Org/Bare")
    hub.add("Org/Words", {"config.json": b"{}"})
    with pytest.raises(WeightsError, match=r"Expected model.safetensors or .* holds none"):
        open_checkpoint("Org/Words")
    hub.add("Org/Broken", files | {"config.json": b"<html>"})
    with pytest.raises(WeightsError, match=r"Expected JSON in .*config\.json"):
        open_checkpoint("Org/Broken")


def test_no_network_at_all(hub, files):
    hub.add(REPO, files)
    hub.server.shutdown()
    hub.server.server_close()
    with pytest.raises(WeightsError, match=r"not in the cache and http.* cannot be reached"):
        open_checkpoint(REPO)


def test_what_answers_without_the_signs_of_a_hub_is_refused(hub, files, monkeypatch):
    from degradation.encoders.checkpoint import network

    hub.add(REPO, files)
    genuine = network.get_hf_file_metadata
    strip = lambda url: type(genuine(url))(None, None, url, 10, None)  # noqa: E731
    monkeypatch.setattr(network, "get_hf_file_metadata", strip)
    with pytest.raises(WeightsError, match="It is not a hub: check HF_ENDPOINT"):
        open_checkpoint(REPO)


def test_what_is_kept_tells_versions_apart(hub, files, tmp_path):
    hub.add(REPO, files)
    hub.add("Org/Copy", files)
    for repo in (REPO, "Org/Copy"):
        read(open_checkpoint(repo, prefixes=["visual."]))
    excerpts = kept(tmp_path, "model-*.safetensors")
    assert len({path.name for path in excerpts}) == len(excerpts) == 2
    known = json.loads(kept(tmp_path, "*.json")[0].read_text())
    assert known["size"] == len(files["model.safetensors"])
