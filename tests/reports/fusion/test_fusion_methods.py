"""The commands of a report train and compare the same again."""

import shlex
from collections.abc import Callable
from itertools import pairwise

import pytest

from reports.fusion.load import Trainings
from reports.fusion.methods import training_commands, training_methods
from sdiag.commands.trainings import reference
from socialfusion.defaults import default_settings
from socialfusion.records import FusionRecord, FusionSettings
from socialfusion.transfer.ablations import plan_ablation
from socialfusion.transfer.records import AblationRecord, TransferRecord, VariantCard

Transfers = Callable[..., TransferRecord]


def values(command: list[str], option: str) -> list[str]:
    return [value for name, value in pairwise(command) if name == option]


def settings_from(command: list[str]) -> FusionSettings:
    """What the command would train."""
    (encoder,), (steps,) = values(command, "--encoder"), values(command, "--steps")
    return reference(encoder, values(command, "--task"), int(steps), values(command, "--set"))


def only(found: Trainings) -> list[str]:
    (line,) = training_commands(found, lambda task: task)
    return shlex.split(line)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"lora_rank": 32, "box_masks": False, "block": 1, "heatmap_weight": 0.5},
        {"encoder": "qwen2-vl:post", "learning_rate": 1e-3, "dtype": "float32"},
        {"vlm": True, "train_vision": True, "language_model": "a b/c"},
    ],
)
def test_a_command_starts_from_the_same_settings(
    make_transfer: Transfers, changes: dict[str, object]
) -> None:
    given = {"encoder": "tiny:pre"} | changes
    settings = default_settings(tasks=("pisc-domain", "scenes-gaze"), steps=7, **given)
    command = only(Trainings(transfers=(make_transfer(settings=settings),)))
    assert command[:2] == ["sdiag", "transfer"]
    assert settings_from(command) == settings


def test_variants_and_seeds_are_asked_for(
    make_transfer: Transfers, make_card: Callable[..., VariantCard]
) -> None:
    names = ("equal-samples", "equal-steps", "equal-samples@clean", "equal-steps@clean")
    record = make_transfer("n", variants=[make_card(name) for name in names], seeds=2, margin=1.5)
    command = only(Trainings(transfers=(record,)))
    assert values(command, "--budget") == ["per-task", "total"]
    assert values(command, "--rows") == ["clean"]
    assert values(command, "--name") == ["n"]
    assert values(command, "--seeds") == ["2"]
    assert values(command, "--margin") == ["1.5"]
    assert "--pairwise" in command


@pytest.mark.parametrize(
    ("name", "field", "tried"),
    [
        ("encoder", "encoder", ["tiny:post"]),
        ("lora-rank", "lora_rank", [2, 4]),
        ("box-masks", "box_masks", [False]),
        ("frozen", "train_vision", [True]),
        ("frozen", "train_encoder", [True]),
    ],
)
def test_an_ablation_tries_the_same_values(
    make_ablation: Callable[..., AblationRecord], name: str, field: str, tried: list[object]
) -> None:
    record = make_ablation()
    vlm = field == "train_vision"
    settings = default_settings("tiny:pre", ("scenes-gaze",), steps=3, vlm=vlm)
    one = record.ablated[0]
    ablated = tuple(one.model_copy(update={"changes": {field: value}}) for value in tried)
    record = record.model_copy(update={"settings": settings, "ablated": ablated})
    command = only(Trainings(ablations=(record,)))
    assert command[:3] == ["sdiag", "ablate", name]
    plan = plan_ablation(name, settings_from(command), seeds=[0], values=values(command, "--value"))
    found = [changes[field] for changes, _ in plan.settings.values()]
    assert found == tried


def test_remarks_name_what_has_to_be_there(
    make_fusion: Callable[..., FusionRecord], make_transfer: Transfers
) -> None:
    found = Trainings({"x": make_fusion("x", ("scenes-gaze",))})
    assert list(training_commands(found, str)) == [
        "# Token maps of tiny: sdiag extract, with --token-block 5",
        "# The trained models: sdiag train-socialfusion, with the settings in fusion.json",
    ]
    assert not training_methods(found)
    assert list(training_commands(Trainings(), str)) == []
    said = training_methods(Trainings(transfers=(make_transfer(),)))
    assert "SocialFusion on the frozen encoder tiny:pre. The first: 40 steps" in said
