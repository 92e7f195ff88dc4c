"""What an encoder of the catalogue tells of where it was read from, and which commit it reads."""

import hashlib
import json
from dataclasses import replace

import pytest
from family_fixtures import CHECKPOINTS, DEPTH, PATCH, SIZE, WIDTH
from safetensors.torch import save

from degradation.cache.schema import encoder_from, plain
from degradation.encoders import catalogue
from degradation.encoders.encoder import Origin
from degradation.encoders.registry import load_encoder
from degradation.errors import WeightsError

REPO = "Org/Clip"
MAIN, OLD = "a" * 40, "b" * 40


@pytest.fixture
def tiny(hub, monkeypatch):
    """A small CLIP on the hub, in two commits whose weights differ, registered as `clip-l-336`."""
    row = replace(
        catalogue.ENCODERS["clip-l-336"], repo=REPO, width=WIDTH, patch=PATCH, size=SIZE,
        blocks=DEPTH, files=(),
    )  # fmt: skip
    monkeypatch.setitem(catalogue.ENCODERS, "clip-l-336", row)
    commits = {}
    for commit, scale in ((MAIN, 1.0), (OLD, 2.0)):
        tiny = CHECKPOINTS["clip"]()
        commits[commit] = {
            "config.json": json.dumps(tiny.config).encode(),
            "model.safetensors": save({n: (x * scale).clone() for n, x in tiny.state.items()}),
        }
        hub.add(REPO, commits[commit], commit=commit)
    return commits


def test_repository_commit_and_digests_are_recorded(hub, tiny):
    found = load_encoder("clip-l-336").info.origin
    assert found == Origin(
        REPO,
        MAIN,
        {
            "config.json": f"etag:{hashlib.sha1(tiny[MAIN]['config.json']).hexdigest()}",
            "model.safetensors": "sha256:"
            + hashlib.sha256(tiny[MAIN]["model.safetensors"]).hexdigest(),
        },
    )


def test_a_pinned_commit_is_read_and_offline_again(hub, tiny):
    newest, pinned = load_encoder("clip-l-336"), load_encoder("clip-l-336", revision=OLD)
    assert pinned.info.origin.revision == OLD
    assert pinned.info.digest != newest.info.digest
    hub.requests.clear()
    again = load_encoder("clip-l-336", revision=OLD, offline=True)
    assert (again.info, again.info.origin) == (pinned.info, pinned.info.origin)
    with pytest.raises(WeightsError, match=f"hf download {REPO} --revision {'c' * 40}"):
        load_encoder("clip-l-336", revision="c" * 40, offline=True)
    assert not hub.requests


def test_a_folder_is_recorded_as_typed_and_is_the_same_encoder(hub, tiny, write, monkeypatch):
    online = load_encoder("clip-l-336").info
    folder = write(tiny[MAIN])
    monkeypatch.chdir(folder.parent)
    typed = load_encoder(f"clip-l-336@./{folder.name}").info
    assert (typed.origin.place, typed.origin.revision) == (f"./{folder.name}", None)
    weights = hashlib.sha256(tiny[MAIN]["model.safetensors"]).hexdigest()
    assert typed.origin.files["model.safetensors"] == f"sha256:{weights}"
    below = load_encoder("clip-l-336", weights=write(tiny[MAIN], f"root/{REPO}").parents[1]).info
    assert (below.origin.place, below.origin.revision) == (REPO, None)
    assert below == online  # digest and all, so that both share one cache
    assert below.origin != online.origin


def test_a_cache_keeps_the_origin_and_earlier_ones_are_read_without(hub, tiny):
    info = load_encoder("clip-l-336").info
    record = json.loads(json.dumps(plain(info)))
    assert encoder_from(record).origin == info.origin
    del record["origin"]
    assert encoder_from(record) == info
    assert encoder_from(record).origin is None
