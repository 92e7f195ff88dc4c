"""An encoder that is trained along: what is reached, what is kept, and what is refused."""

import zlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from degradation.encoders.frozen_vit import frozen_vit
from degradation.encoders.vit import Vit, VitConfig
from degradation.errors import ConfigError, InterruptedRun, PairingError, WeightsError
from sdiag.commands.train_socialfusion import _check_encoder_lr
from socialfusion.assemble import built, check_settings, gathered
from socialfusion.model import SocialFusion
from socialfusion.online import Online
from socialfusion.pixels import with_pixels
from socialfusion.place import Place
from socialfusion.records import FINAL, run_folder
from socialfusion.saved import open_run
from socialfusion.sources import open_tasks
from socialfusion.stepping import optimiser_of
from socialfusion.transfer.plan import planned
from socialfusion.unfrozen import Unfrozen, load_unfrozen

CPU = Place(torch.device("cpu"))
ROWS = np.arange(5)
READ = 1
"""The block that the cache declares; the encoder has one behind it."""


def make_encoder(seed: int = 0, width: int = 6):
    vit = Vit(VitConfig(size=16, patch=8, width=width, depth=3, heads=2, mlp=12))
    vit.initialise(generator=torch.Generator().manual_seed(seed))
    return frozen_vit(vit, name="tiny:pre")


class Fixed:
    """An encoder without weights."""

    info = make_encoder().info

    def __call__(self, pixels, blocks):
        raise NotImplementedError


def picture(name: str) -> Image.Image:
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    return Image.fromarray(rng.integers(0, 255, (24, 32, 3), np.uint8))


@pytest.fixture
def pictured(cache_of, monkeypatch):
    """A cache of the encoder of `make_encoder`, whose pictures can be opened."""
    for module in ("run.load_online", "unfrozen.load_encoder"):
        whole = module == "run.load_online"
        monkeypatch.setattr(
            f"socialfusion.{module}",
            lambda *a, whole=whole: Online(make_encoder(), CPU, {}) if whole else make_encoder(),
        )
    task = SimpleNamespace(open=picture)
    monkeypatch.setattr("socialfusion.online.get_task", lambda name, data_root: task)
    return cache_of(make_encoder().info.digest)


@pytest.fixture
def parts(pictured, settings):
    """The frozen model with its questions, and the same model with its encoder."""
    online = Online(make_encoder(), CPU, {})
    tasks = open_tasks(pictured, "tiny:pre", settings.tasks, block=None, memory=0.0, online=online)
    questions = gathered(tasks, settings)
    model = built(questions, settings)
    return model, questions, Unfrozen(model, online.encoder), with_pixels(questions)


def drawn(model: SocialFusion) -> None:
    """Give adapters an effect."""
    with torch.no_grad():
        for one in model.trained_parameters().values():
            one += 0.02 * torch.randn(one.shape, generator=torch.Generator().manual_seed(7))


def tower_of(folder):
    return load_file(folder / "encoder.safetensors")


def test_untrained_it_is_the_frozen_model(parts) -> None:
    model, questions, whole, pixels = parts
    for label, one in questions.items():
        for seed in (None, 3):
            cached, shown = (
                some.batch(ROWS, None if seed is None else np.random.default_rng(seed))
                for some in (one, pixels[label])
            )
            assert torch.equal(whole(shown.to("cpu")), model(cached))
    gaze, looking = (
        pixels[f"scenes-{name}"].batch(ROWS) for name in ("gaze/gaze", "looking/looking")
    )
    assert whole.heatmaps(gaze).shape == (5, 64, 64)
    assert whole.scores(looking).shape == (5, 2)
    assert len(whole.generate_answers(looking)) == len(looking) == 5


def test_gradients_are_the_encoders_own_and_stop_at_the_block_that_is_read(parts) -> None:
    model, questions, whole, pixels = parts
    drawn(model)
    trained = whole.trained_parameters()
    assert list(trained)[: len(model.trained_parameters())] == list(model.trained_parameters())
    tower = {n.removeprefix("encoder."): p for n, p in trained.items() if n.startswith("encoder.")}
    every = {name for name, _ in whole.encoder.tower.named_parameters()}
    assert every - set(tower) == {name for name in every if f"blocks.{READ + 1}." in name}
    label = "scenes-looking/looking"
    whole(pixels[label].batch(ROWS)).sum().backward()
    assert all(one.grad.abs().max() > 0 for one in tower.values())
    assert all(one.grad is None for one in whole.encoder.tower.blocks[READ + 1].parameters())
    # By hand: what the loss asks of the tokens, carried through the encoder.
    batch = questions[label].batch(ROWS)
    leaf = batch.tokens.clone().requires_grad_(True)
    asked = torch.autograd.grad(
        model(type(batch)(batch.question, leaf, batch.masks, batch.labels)).sum(), leaf
    )[0]
    images = pixels[label].batch(ROWS).pixels.flatten(0, 1).permute(0, 3, 1, 2)
    tokens = whole.encoder.tower((images / 255 - whole.encoder.mean) / whole.encoder.std, [READ])[
        READ
    ].patches
    wanted = torch.autograd.grad(tokens, list(tower.values()), asked.view_as(tokens))
    for one, grad in zip(tower.values(), wanted, strict=True):
        assert torch.allclose(one.grad, grad, rtol=1e-4, atol=1e-7)


def test_training_changes_the_read_blocks_a_tenth_as_fast(train, pictured, tmp_path) -> None:
    record = train(root=pictured, train_encoder=True, steps=1, warmup=0.0)
    before = dict(make_encoder().tower.named_parameters())
    folder = run_folder(tmp_path, "run")
    after = tower_of(folder / FINAL)
    assert not any(f"blocks.{READ + 1}." in name for name in after)
    moved = [float((after[name] - before[name]).abs().max()) for name in after]
    # The first step of Adam moves a weight by its learning rate, or not at all.
    assert max(moved) == pytest.approx(0.1 * 5e-3, rel=1e-2)
    assert record.trained.parameters["encoder"] == sum(one.numel() for one in after.values())
    assert record.encoder.digest == make_encoder().info.digest
    assert record.frozen.language_model_before == record.frozen.language_model_after
    assert record.frozen.encoder_before != record.frozen.encoder_after
    assert record.settings.train_encoder
    frozen = train("frozen", root=pictured, online=True, steps=1, warmup=0.0)
    assert frozen.losses[0].losses == record.losses[0].losses
    assert frozen.frozen.encoder_before == frozen.frozen.encoder_after
    assert not (run_folder(tmp_path, "frozen") / FINAL / "encoder.safetensors").exists()


def test_the_encoder_has_a_learning_rate_of_its_own(settings) -> None:
    some = {name: torch.nn.Parameter(torch.zeros(1)) for name in ("connector.a", "encoder.b")}
    for own, share in ((None, 0.1), (1e-3, 0.2)):
        given = settings.model_copy(update={"encoder_learning_rate": own})
        rest, tower = optimiser_of(some, given).param_groups
        assert (rest["params"], tower["params"]) == ([some["connector.a"]], [some["encoder.b"]])
        assert (rest["share"], tower["share"]) == (1.0, pytest.approx(share))


def test_what_is_saved_is_what_was_tested(train, pictured, tmp_path, parts) -> None:
    train(root=pictured, train_encoder=True, steps=2)
    folder = run_folder(tmp_path, "run") / FINAL
    model = load_unfrozen(folder)
    batch = parts[3]["scenes-looking/looking"].batch(ROWS)
    assert not torch.equal(model.scores(batch), parts[2].scores(batch))
    model.save_pretrained(tmp_path / "again")
    again = load_unfrozen(tmp_path / "again")
    assert torch.equal(again.scores(batch), model.scores(batch))
    assert (tmp_path / "again" / "trained.json").read_text() == (
        folder / "trained.json"
    ).read_text()
    with pytest.raises(ConfigError, match=r"trained with its encoder.*load_unfrozen"):
        SocialFusion.from_pretrained(folder)
    weights = tower_of(folder)
    name = next(iter(weights))
    save_file(weights | {name: weights[name][:-1].clone()}, tmp_path / "again/encoder.safetensors")
    with pytest.raises(WeightsError, match=rf"Expected {name} of .*another checkpoint"):
        load_unfrozen(tmp_path / "again")
    (tmp_path / "again/encoder.safetensors").write_bytes(b"x")
    with pytest.raises(WeightsError, match="cannot be read"):
        load_unfrozen(tmp_path / "again")
    (tmp_path / "again/encoder.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"has no encoder\.safetensors"):
        load_unfrozen(tmp_path / "again")


def test_four_steps_are_two_and_two(train, pictured, tmp_path) -> None:
    options = {"root": pictured, "train_encoder": True, "eval_every": 2, "augment": True}
    whole = train("whole", **options)
    asked = iter((False, True))
    with pytest.raises(InterruptedRun):
        train("parts", asked=lambda: next(asked), **options)
    some = train("parts", resume=True, **options)
    assert some.model_copy(update={"run": "", "seconds": 0.0}) == whole.model_copy(
        update={"run": "", "seconds": 0.0}
    )
    one, two = (run_folder(tmp_path, name) / "checkpoint-000004" for name in ("whole", "parts"))
    for name in ("encoder", "model", "optimizer"):
        left, right = (load_file(folder / f"{name}.safetensors") for folder in (one, two))
        assert left.keys() == right.keys()
        assert all(torch.equal(left[key], right[key]) for key in left)
    with pytest.raises(ConfigError, match=r"trained its encoder along.*without --train-encoder"):
        open_run(run_folder(tmp_path, "whole"), (), adam=False)


def test_what_cannot_be_is_refused(settings, cache, parts) -> None:
    def changed(**changes):
        return settings.model_copy(update=changes)

    with pytest.raises(ConfigError, match=r"no --train-encoder with --vlm"):
        check_settings(changed(train_encoder=True, vlm=True))
    with pytest.raises(ConfigError, match=r"--train-encoder for --encoder-lr"):
        _check_encoder_lr(1e-3, train_encoder=False)
    check_settings(changed(encoder_learning_rate=1e-3))  # what an ablation's reference may say
    with pytest.raises(ConfigError, match="encoder_learning_rate above 0"):
        check_settings(changed(train_encoder=True, encoder_learning_rate=0.0))
    check_settings(changed(train_encoder=True, augment=True))
    tasks = open_tasks(cache, "tiny:pre", ("scenes-gaze",), block=1, memory=0.0)
    with pytest.raises(ConfigError, match="found tokens from the cache"):
        with_pixels(gathered(tasks, settings))
    with pytest.raises(PairingError, match="Give that encoder"):
        Unfrozen(parts[0], make_encoder(seed=1))
    with pytest.raises(ConfigError, match="an encoder with weights"):
        Unfrozen(parts[0], Fixed())


def test_names_of_frozen_runs_stay_what_they_are(settings) -> None:
    """They are a hash of what is not at its default."""
    assert planned(settings).name == "scenes-looking-with-scenes-gaze-seed-0-502d838a"
    assert (
        planned(settings.model_copy(update={"train_encoder": True})).name != planned(settings).name
    )
