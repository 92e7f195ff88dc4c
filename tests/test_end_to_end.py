"""The main job on real photographs with the libraries' own towers: pictures to a report."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image


def sdiag(*arguments: str, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "sdiag", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """scikit-image's 200 crops of faces and of other things, with a manifest."""
    from skimage import data

    folder = tmp_path_factory.mktemp("photographs")
    crops = (data.lfw_subset() * 255).astype(np.uint8)
    rows = []
    for number, crop in enumerate(crops):
        Image.fromarray(crop).resize((64, 64)).save(folder / f"{number}.png")
        label = "face" if number < 100 else "other"
        split = ("train", "train", "val", "test", "test")[number % 5]
        rows.append({"path": f"{number}.png", "label": label, "split": split})
    pd.DataFrame(rows).to_csv(folder / "manifest.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def towers(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A random open_clip tower and a random transformers tower, saved as their owners would."""
    import open_clip
    import torch
    from safetensors.torch import save_file
    from transformers import CLIPVisionConfig, CLIPVisionModel

    first = tmp_path_factory.mktemp("open_clip_tower")
    architecture = {
        "embed_dim": 32,
        "quick_gelu": True,
        "vision_cfg": {
            "image_size": 32,
            "layers": 3,
            "width": 48,
            "head_width": 16,
            "patch_size": 8,
        },
        "text_cfg": {
            "context_length": 8,
            "vocab_size": 64,
            "width": 16,
            "heads": 2,
            "layers": 1,
        },
    }
    model = open_clip.CLIP(**architecture)
    save_file(model.state_dict(), first / "open_clip_model.safetensors")
    (first / "open_clip_config.json").write_text(
        json.dumps(
            {
                "model_cfg": architecture,
                "preprocess_cfg": {
                    "mean": [0.48, 0.45, 0.40],
                    "std": [0.26, 0.26, 0.27],
                    "interpolation": "bicubic",
                    "resize_mode": "squash",
                },
            }
        )
    )
    second = tmp_path_factory.mktemp("transformers_tower")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        CLIPVisionModel(
            CLIPVisionConfig(
                hidden_size=64,
                intermediate_size=96,
                num_hidden_layers=3,
                num_attention_heads=4,
                image_size=32,
                patch_size=8,
            )
        ).save_pretrained(second)
    (second / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.48, 0.45, 0.40], "image_std": [0.26, 0.26, 0.27]})
    )
    return f"open_clip:{first}", f"hf:{second}"


@pytest.mark.slow
def test_real_photographs_through_real_encoder_classes(
    photographs: Path, towers: tuple[str, str], tmp_path: Path
) -> None:
    task = f"manifest:{photographs / 'manifest.csv'}"
    pre, post = towers
    sdiag(
        *("extract", "--pre", pre, "--post", post, "--name", "towers", "--task", task),
        *("--data-root", str(photographs)),
        cwd=tmp_path,
    )
    verdicts = json.loads(sdiag("probe", "--draws", "300", "--json", cwd=tmp_path))
    assert len(verdicts) == 1
    record = json.loads(next((tmp_path / "sdiag-results").rglob("record.json")).read_text())
    accuracy = next(
        one for one in record["comparisons"] if one["metric"] == "accuracy" and one["confirmatory"]
    )
    # Random towers still see that a face is not a patch of wall; both beat the 50 % prior.
    assert accuracy["n"] == 80
    assert accuracy["pre"]["low"] > 55
    assert accuracy["post"]["low"] > 55
    sdiag("report", "--out", "report", cwd=tmp_path)
    assert "towers" in (tmp_path / "report" / "report.md").read_text()


def test_features_computed_elsewhere_are_probed_by_clustered_folds(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(["cat", "dog"], 60)
    signal = (labels == "dog")[:, None] * 3.0
    np.save(tmp_path / "pre.npy", rng.normal(size=(120, 12)) + signal)
    np.savez(tmp_path / "post.npz", features=rng.normal(size=(120, 7)))
    pd.DataFrame(
        {
            "id": [f"row-{i}" for i in range(120)],
            "label": labels,
            "cluster": [f"owner-{i // 2}" for i in range(120)],
        }
    ).to_csv(tmp_path / "rows.csv", index=False)
    sdiag(
        *("cache", "import", "--pre", "pre.npy", "--post", "post.npz", "--rows", "rows.csv"),
        *("--task", "pets", "--pair", "mine"),
        cwd=tmp_path,
    )
    (verdict,) = json.loads(sdiag("probe", "--task", "pets", "--json", cwd=tmp_path))
    assert verdict["verdict"] == "degraded"


@pytest.mark.slow
def test_the_import_example_needs_no_files(tmp_path: Path) -> None:
    sdiag("cache", "import", cwd=tmp_path)
    verdicts = json.loads(sdiag("probe", "--draws", "300", "--json", cwd=tmp_path))
    assert len(verdicts) == 1
