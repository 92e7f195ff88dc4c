"""The recipe of the pair tiny, on a fraction of its pictures."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from degradation.encoders.shipped import tiny_folder, tiny_steps
from degradation.encoders.tiny import load_tiny
from degradation.encoders.vit import Vit, VitConfig
from degradation.scenes.batch_norm import folded, with_batch_norm
from degradation.scenes.captions import vocabulary
from degradation.scenes.train import Recipe, train_tiny


def test_folding_keeps_the_function() -> None:
    config = VitConfig(
        size=32, patch=8, width=16, depth=1, heads=2, mlp=32, stem=((8, 3, 2), (8, 3, 1))
    )
    generator = torch.Generator().manual_seed(0)
    tower = Vit(config).initialise(generator=generator)
    plain_keys = tower.state_dict().keys()
    with_batch_norm(tower)
    pixels = torch.randn(16, 3, 32, 32, generator=generator)
    for _ in range(3):
        tower(pixels, [0])  # running statistics move
    plain = folded(tower)
    assert plain.state_dict().keys() == plain_keys
    tower.eval()
    torch.testing.assert_close(plain(pixels, [0])[0].patches, tower(pixels, [0])[0].patches)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Recipe]:
    recipe = replace(
        Recipe().shrunk(200),
        epochs_pre=1.0,
        epochs_post=1.0,
        batch=16,
        width=24,
        heads=3,
        depth=1,
        text_width=32,
        text_depth=1,
        threads=1,
    )
    folder = tmp_path_factory.mktemp("tiny")
    train_tiny(folder, recipe)
    return folder, recipe


@pytest.mark.slow
def test_both_sides_and_the_steps_between_load_and_differ(trained: tuple[Path, Recipe]) -> None:
    folder, recipe = trained
    sides = ["pre", *tiny_steps(folder), "post"]
    assert len(sides) == 2 + len(recipe.kept)
    digests = {load_tiny(side, folder).info.digest for side in sides}
    assert len(digests) == len(sides)


@pytest.mark.slow
def test_the_planted_operations_are_fitted_to_the_pre_side(trained: tuple[Path, Recipe]) -> None:
    from degradation.encoders.planted import load_planted

    folder, _ = trained
    assert load_planted("erased", folder).info.name == "erased:post"


@pytest.mark.slow
def test_the_run_is_recorded(trained: tuple[Path, Recipe]) -> None:
    folder, recipe = trained
    record = json.loads((folder / "training.json").read_text())
    assert record["recipe"]["pictures"] == recipe.pictures
    assert set(record["curves"]) == {"pre", "text", "post"}
    assert record["curves"]["pre"][-1]["held_out_loss"] > 0
    assert "torch" in record["versions"]


def test_the_shipped_language_model_reads_captions() -> None:
    folder = tiny_folder() / "language-model"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    words = tokenizer("a person with short brown hair in a red shirt", return_tensors="pt")
    assert tokenizer.unk_token_id not in words["input_ids"][0].tolist()
    loss = model(**words, labels=words["input_ids"]).loss
    chance = torch.log(torch.tensor(float(len(vocabulary()))))
    assert loss < chance - 2


def test_the_shipped_weights_are_small() -> None:
    total = sum(file.stat().st_size for file in tiny_folder().rglob("*") if file.is_file())
    assert total <= 8 * 2**20
