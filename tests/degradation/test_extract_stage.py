"""Stage `native_norm`: the last block as the rest of its own model reads it."""

import numpy as np
import pytest
import torch
from family_fixtures import CHECKPOINTS, DEPTH, SIZE
from PIL import Image
from torch.nn import functional

from degradation.cache import check_paired, open_features
from degradation.encoders.families import load_family
from degradation.encoders.pair import Pair
from degradation.encoders.registry import load_encoder
from degradation.errors import ConfigError, PairingError
from degradation.extract import extract
from degradation.protocol import Protocol
from degradation.tasks.task import Rows, Task, TaskSpec

N = 4
NORMED = Protocol(stage="native_norm")
PAIR = Pair("fake", "fake:pre", "fake:post", "none", "this test", block=0)
TASK = TaskSpec(
    name="noise", kind="classes", social=True, label_sets={"odd": ("no", "yes")}, roles=(),
    regions=("image",), metrics={"odd": ("accuracy",)}, cluster="picture", source="this test",
)  # fmt: skip


def picture(reference):
    rng = np.random.default_rng(int(reference))
    return Image.fromarray(rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8))


def read(split):
    ids = np.array([str(i) for i in range(N)], dtype=object)
    points = np.zeros((N, 0, 2), dtype=np.float32)
    return Rows(ids, ids[:, None], {}, {"odd": np.arange(N) % 2}, points, ids)


def load(name, *, final_norm):
    tiny = CHECKPOINTS[name]()
    return load_family(tiny.family, tiny, name, size=SIZE, final_norm=final_norm)


def run(root, pre, post, **options):
    report = extract(
        Task(TASK, ("all",), read, picture), "all", PAIR, pre, post, root=root, storage="float32",
        progress=False, **options,
    )  # fmt: skip
    return open_features(root, report.entry.pre), open_features(root, report.entry.post)


def test_both_sides_are_stored_behind_their_own_norms(tmp_path):
    names = ("clip", "qwen2_vl")
    plain = run(tmp_path, *(load(name, final_norm=False) for name in names))
    normed = run(tmp_path, *(load(name, final_norm=True) for name in names), protocol=NORMED)
    assert normed[0].key.protocol.name.startswith("paired(stage=native_norm)-")
    for name, one, two in zip(names, plain, normed, strict=True):
        assert one.address != two.address
        assert one.encoder.digest != two.encoder.digest
        for block in range(DEPTH - 1):
            same = one.pooled(block, ["image"]), two.pooled(block, ["image"])
            np.testing.assert_array_equal(*same)
        state = CHECKPOINTS[name]().state
        prefix = {"clip": "vision_model.post_layernorm", "qwen2_vl": "visual.merger.ln_q"}[name]
        weight, bias = (state[f"{prefix}.{part}"].float() for part in ("weight", "bias"))
        pixels = np.stack([np.asarray(picture(i)) for i in range(N)])
        batch = torch.from_numpy(pixels).permute(0, 3, 1, 2)
        tokens = load(name, final_norm=False)(batch, [DEPTH - 1])[DEPTH - 1].patches
        expected = functional.layer_norm(tokens, weight.shape, weight, bias).mean(dim=1)
        np.testing.assert_allclose(two.pooled(DEPTH - 1, ["image"]), expected, atol=1e-4)
    with pytest.raises(PairingError, match="native_norm"):
        check_paired(plain[0], normed[1])


def test_one_side_without_a_norm_stays_as_it_is(tmp_path):
    pre, post = (load(name, final_norm=True) for name in ("clip", "internvit"))
    assert (pre.final_norm, post.final_norm) == (True, False)
    _, found = run(tmp_path, pre, post, protocol=NORMED)
    _, plain = run(tmp_path, load("clip", final_norm=False), post)
    assert found.encoder.digest == plain.encoder.digest
    assert found.address != plain.address  # the protocol is another one
    np.testing.assert_array_equal(found.pooled(2, ["image"]), plain.pooled(2, ["image"]))


@pytest.mark.parametrize(
    ("names", "norm", "options", "words"),
    [
        (("internvit", "molmo"), True, {"protocol": NORMED}, "internvit and molmo neither has"),
        (("clip", "molmo"), True, {"protocol": NORMED, "blocks": [0, 1]}, "changes block 2 only"),
        (("clip", "qwen2_vl"), False, {"protocol": NORMED}, "no effect: of clip and qwen2_vl"),
        (("clip", "qwen2_vl"), True, {}, "an encoder was loaded with the norm"),
    ],
)
def test_a_stage_that_is_not_that_of_the_encoders_is_refused(tmp_path, names, norm, options, words):
    with pytest.raises(ConfigError, match=words):
        run(tmp_path, *(load(name, final_norm=norm) for name in names), **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["tiny:pre", "identity:post", "hf:some/repo", "timm:vit"])
@pytest.mark.parametrize(
    ("option", "words"), [("final_norm", "--stage native_norm"), ("any_grid", "--geometry native")]
)
def test_towers_of_which_it_is_not_known_are_refused(name, option, words):
    with pytest.raises(ConfigError, match=f"published encoder for {words}.*found {name}"):
        load_encoder(name, **{option: True})


def test_an_unknown_name_is_still_unknown():
    with pytest.raises(ConfigError, match="encoders` lists them all"):
        load_encoder("nothing", final_norm=True)
