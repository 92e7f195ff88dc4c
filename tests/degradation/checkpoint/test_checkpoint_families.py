"""Every family's tiny checkpoint, read from real files, gives the tower it gives from memory."""

import pytest
import torch
from family_fixtures import CHECKPOINTS, write

from degradation.encoders.checkpoint import open_checkpoint
from degradation.encoders.families import FAMILIES, load_tower


def prefixes(family):
    return [prefix for layout in FAMILIES[family].layouts for prefix in layout.prefixes]


def same_tower(family, checkpoint, tiny):
    found = load_tower(family, checkpoint).state_dict()
    expected = load_tower(family, tiny).state_dict()
    return found.keys() == expected.keys() and all(
        torch.equal(found[name], tensor) for name, tensor in expected.items()
    )


@pytest.mark.parametrize("form", [{}, {"shards": 3}, {"pickled": "pytorch_model.bin"}])
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_from_a_folder(name, form, tmp_path):
    tiny = CHECKPOINTS[name]()
    folder = write(tmp_path / "here", tiny, **form)
    checkpoint = open_checkpoint(str(folder), prefixes=prefixes(tiny.family))
    assert same_tower(tiny.family, checkpoint, tiny)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_from_a_hub_and_offline_after(name, hub, tmp_path):
    tiny = CHECKPOINTS[name]()
    folder = write(tmp_path / "there", tiny, shards=2)
    hub.add("Org/Tiny", {path.name: path.read_bytes() for path in folder.iterdir()})
    for offline in (False, True):
        checkpoint = open_checkpoint("Org/Tiny", prefixes=prefixes(tiny.family), offline=offline)
        assert same_tower(tiny.family, checkpoint, tiny)
