"""From checkpoints in the hub's formats to a report, for each published family."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from family_fixtures import CHECKPOINTS, DEPTH, PATCH, SIZE, WIDTH, write
from PIL import Image
from typer.testing import CliRunner

from degradation.cache import open_features, pairs
from degradation.encoders import catalogue
from degradation.errors import ConfigError
from reports.load import read_records
from sdiag.cli import app

BLOCK = 1
PAIRS = {
    "qwen2-vl": ("clip", "qwen2_vl"),
    "molmoe": ("clip", "molmo"),
    "sail-vl": ("internvit", "sail-vl"),
    "llava-1.5": ("clip", "llava"),
}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a manifest of pictures of two classes, dark and bright."""
    folder = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    lines = ["path,label,split"]
    for number in range(60):
        level = 60 + 80 * (number % 2)
        pixels = rng.normal(level, 40, (64, 80, 3)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        split = ("train", "train", "val", "test")[number // 2 % 4]
        lines.append(f"{number}.png,{('dark', 'bright')[number % 2]},{split}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


def run(*words: str) -> str:
    done = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def installed(pair: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The checkpoints of a pair in a folder of weights, and the catalogue as small as they are."""
    row = catalogue.PAIRS[pair]
    monkeypatch.setitem(catalogue.PAIRS, pair, replace(row, block=BLOCK))
    for name, fixture in zip((row.pre, row.post), PAIRS[pair], strict=True):
        tiny = CHECKPOINTS[fixture]()
        depth = 5 if fixture == "molmo" else DEPTH
        known = catalogue.ENCODERS[name]
        small = replace(known, width=WIDTH, patch=PATCH, size=SIZE, blocks=depth, files=())
        monkeypatch.setitem(catalogue.ENCODERS, name, small)
        write(folder / known.repo, tiny, shards=2)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return folder


@pytest.mark.parametrize(
    "pair",
    [pair if pair == "qwen2-vl" else pytest.param(pair, marks=pytest.mark.slow) for pair in PAIRS],
)
def test_from_both_checkpoints_to_a_report(
    pair: str, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, weights = catalogue.PAIRS[pair], installed(pair, tmp_path / "weights", monkeypatch)
    cache, results = ("--cache", str(tmp_path / "cache")), ("--results", str(tmp_path / "results"))
    run(
        "extract", "--model", pair, "--weights", str(weights), *cache,
        "--task", f"manifest:{photographs / 'labels.csv'}", "--data-root", str(photographs),
    )  # fmt: skip
    run("probe", "--draws", "100", *cache, *results)
    (record,) = read_records(tmp_path / "results")
    for name, origin in ((row.pre, record.pair.pre_origin), (row.post, record.pair.post_origin)):
        repo = catalogue.ENCODERS[name].repo
        assert (origin.place, origin.revision) == (repo, None)  # a plain folder tells no commit
        assert "config.json" in origin.files
        assert any(file.endswith(".safetensors") for file in origin.files)
        for file, digest in origin.files.items():
            content = (tmp_path / "weights" / repo / file).read_bytes()
            assert digest == f"sha256:{hashlib.sha256(content).hexdigest()}"
    found = json.loads(run("report", "--out", str(tmp_path / "report"), "--json", *results))
    (verdict,) = found["verdicts"]
    assert (verdict["pair"], verdict["block"]) == (pair, BLOCK)
    text = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert row.lineage in text.replace("\\", "")
    digest = record.pair.post_origin.files["config.json"].removeprefix("sha256:")[:12]
    assert f"| `{catalogue.ENCODERS[row.post].repo}` | not known | " in text
    assert f"config.json sha256:{digest}" in text
    assert str(tmp_path) not in text + record.model_dump_json()
    if pair == "llava-1.5":  # its tower is CLIP's, bit for bit
        assert (verdict["delta"], verdict["delta_low"], verdict["delta_high"]) == (0, 0, 0)


def test_the_native_arm_stands_beside_the_standard_one(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, cache = installed("qwen2-vl", tmp_path / "weights", monkeypatch), tmp_path / "cache"
    extract = (
        "extract", "--model", "qwen2-vl", "--weights", str(weights), "--cache", str(cache),
        "--json", "--task", f"manifest:{photographs / 'labels.csv'}",
        "--data-root", str(photographs),
    )  # fmt: skip
    run(*extract)
    native = ("--geometry", "native", "--max-pixels", "4704", "--stage", "native_norm")
    with pytest.raises(ConfigError, match="Give --positions bicubic"):
        run(*extract, *native)
    done = json.loads(run(*extract, *native, "--positions", "bicubic"))
    assert sum(one["rows"] for one in done) == 60  # none is left out
    arm = done[0]["pair"]
    assert arm.startswith(
        "qwen2-vl+paired(geometry=native,max_pixels=4704,positions=bicubic,stage=native_norm)-"
    )
    entries = {entry.pair: entry for entry in pairs(cache) if entry.split == "val"}
    assert entries.keys() == {"qwen2-vl", arm}
    for side in ("pre", "post"):
        one, two = (
            open_features(cache, getattr(entries[pair], side)) for pair in ("qwen2-vl", arm)
        )
        assert one.pooled(2, ["image"]).shape == two.pooled(2, ["image"]).shape
        assert not (one.pixel_hashes == two.pixel_hashes).all(axis=1).any()
