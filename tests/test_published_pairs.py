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

from degradation.encoders import catalogue
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


@pytest.mark.parametrize("pair", PAIRS)
def test_from_both_checkpoints_to_a_report(
    pair: str, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = catalogue.PAIRS[pair]
    monkeypatch.setitem(catalogue.PAIRS, pair, replace(row, block=BLOCK))
    for name, fixture in zip((row.pre, row.post), PAIRS[pair], strict=True):
        tiny = CHECKPOINTS[fixture]()
        depth = 5 if fixture == "molmo" else DEPTH
        known = catalogue.ENCODERS[name]
        small = replace(known, width=WIDTH, patch=PATCH, size=SIZE, blocks=depth, files=())
        monkeypatch.setitem(catalogue.ENCODERS, name, small)
        write(tmp_path / "weights" / known.repo, tiny, shards=2)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    cache, results = ("--cache", str(tmp_path / "cache")), ("--results", str(tmp_path / "results"))
    run(
        "extract", "--model", pair, "--weights", str(tmp_path / "weights"), *cache,
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
