"""The options of `sdiag extract` that make another protocol, from the command line to the cache."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from degradation.cache import open_features, pairs
from degradation.encoders.pair import Pair
from degradation.errors import ConfigError
from degradation.geometry import Geometry
from degradation.protocol import Protocol, protocol_of
from sdiag.cli import app
from sdiag.commands.extract import arm, native_geometry

N = 4


@pytest.fixture
def faces(tmp_path: Path) -> list[str]:
    """Options of a task with four pictures, each with the box of a face."""
    lines = ["path,label,face_x1,face_y1,face_x2,face_y2"]
    for i in range(N):
        pixels = np.random.default_rng(i).integers(0, 256, (40, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"p{i}.png")
        lines.append(f"p{i}.png,{'ab'[i % 2]},0.3,0.2,0.7,0.8")
    (tmp_path / "faces.csv").write_text("\n".join(lines))
    table, cache = tmp_path / "faces.csv", tmp_path / "cache"
    return [
        *("extract", "--model", "identity", "--task", f"manifest:{table}", "--block", "0"),
        *("--data-root", str(tmp_path), "--cache", str(cache), "--workers", "1", "--json"),
    ]


def extracted(*arguments: str) -> list[dict]:
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0
    return json.loads(done.stdout)


def test_two_protocols_stand_beside_each_other_in_one_cache(faces, tmp_path):
    (plain,) = extracted(*faces)
    (crop,) = extracted(
        *faces, "--geometry", "pad", "--filter", "bilinear", "--crop", "face", "--margin", "0.25",
        "--pool", "grid:2x2",
    )  # fmt: skip
    assert (plain["pair"], plain["protocol"]) == ("identity", "paired-native-grid v1")
    assert (plain["rows"], crop["rows"]) == (N, N)
    one, two = pairs(tmp_path / "cache")
    assert {one.pair, two.pair} == {plain["pair"], crop["pair"]}
    entry = one if one.pair == crop["pair"] else two
    features = open_features(tmp_path / "cache", entry.pre)
    key = features.key
    asked = Protocol(
        geometry=Geometry("pad", key.protocol.size, "bilinear", crop="face", margin=0.25),
        pool="grid:2x2",
        blocks=(0,),
    )
    record = {name: getattr(key.protocol, name) for name in key.protocol.__slots__}
    assert protocol_of(record, blocks=(0,), token_blocks=(), dtype=key.compute) == asked
    assert crop["protocol"] == str(asked)
    assert crop["pair"] == f"identity+{asked.name}"
    assert features.pooled(0, ["face"]).shape == (N, 4 * features.encoder.width)


def test_padding_is_pooled_only_when_asked_for(faces):
    (masked,) = extracted(*faces, "--geometry", "pad")
    (kept,) = extracted(*faces, "--geometry", "pad", "--keep-padding")
    assert masked["protocol"] == str(Protocol(geometry=Geometry("pad")))
    assert kept["protocol"] == str(Protocol(geometry=Geometry("pad"), mask_pad=False))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--geometry", "native"], "native geometry is known for the encoders that"),
        (["--max-pixels", "602112"], "max_pixels and multiple belong to native geometry"),
        (["--size", "0"], "size from 1 to"),
        (["--stage", "native_norm"], "published encoder for --stage native_norm, found tiny:pre"),
        (["--crop", "head"], "cut to 'head': the rows have boxes face"),
        (["--keep-padding"], "mask_pad belongs to geometry pad"),
        (["--margin", "0.5"], "Name the role as crop"),
        (["--pool", "median"], "mean, cls, max, gem or grid:KxK"),
        (["--normalisation", "shared:mine"], "shared:imagenet"),
        (["--normalisation", "shared:clip"], "identity:post normalises pictures in a way"),
        (["--pool", "cls"], "no class token|read"),
    ],
)
def test_what_does_not_fit_is_one_message(faces, tmp_path, options, words):
    with pytest.raises(ConfigError, match=words):
        CliRunner().invoke(app, [*faces, *options], catch_exceptions=False, standalone_mode=False)
    assert pairs(tmp_path / "cache") == []


def test_the_native_geometry_is_that_of_the_side_after():
    assert native_geometry("molmoe:post") == Geometry("pad", 336, "bilinear-float")
    assert native_geometry("llava-1.5:post@/some/folder") == Geometry("short-crop", 336)
    assert native_geometry("paligemma-448:post").size == 448  # whatever the side before has
    assert native_geometry("paligemma:post", size=448).size == 448
    assert native_geometry("dinov2") == Geometry("short-crop", 224, crop_pct=0.875)
    assert native_geometry("qwen2-vl:post") == Geometry("native")
    smaller = native_geometry("qwen3-vl:post", max_pixels=602_112, crop="face")
    assert smaller == Geometry(
        "native", min_pixels=65_536, max_pixels=602_112, multiple=32, crop="face"
    )
    with pytest.raises(ConfigError, match="follows the picture, but size 336"):
        native_geometry("qwen2-vl:post", size=336)
    with pytest.raises(ConfigError, match="belong to native geometry, but the geometry is pad"):
        native_geometry("molmoe:post", max_pixels=602_112)
    pair = Pair("sail-vl", "internvit-300m", "sail-vl:post", "none", "this test")
    native = Protocol(geometry=native_geometry(pair.post))
    assert arm(pair, native) == pair  # SAIL squashes too: its native arm is the standard one
    assert arm(pair, Protocol(pool="max")).name.startswith("sail-vl+paired(pool=max)-")
