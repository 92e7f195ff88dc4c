"""What each setting of SocialFusion is worth: the same training with one setting changed.

An ablation is a name and the settings to put in place of the reference's; `ABLATIONS` is the whole
list, in units of the reference where sizes depend on the model. Every changed setting is trained
over the same seeds as the reference and compared on the same test rows (`effects`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from degradation.errors import ConfigError
from probes.cards import tool_version
from socialfusion.records import FusionRecord, FusionSettings
from socialfusion.transfer.effects import effects, judged
from socialfusion.transfer.plan import PlannedRun, changed, over_seeds
from socialfusion.transfer.records import AblationRecord, Effect, Setting
from socialfusion.transfer.run import Runs, run_card, signature

__all__ = ["ABLATIONS", "Ablation", "AblationPlan", "ablation_record", "plan_ablation"]

Changes = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Ablation:
    """One kind of change.

    Attributes:
        setting: The field of `FusionSettings` that it changes.
        values: From the reference settings to the values to try; empty where they must be named.
        about: One line for people.
        vlm_setting: The field for a VLM that is fine-tuned itself, where it is another.
    """

    setting: str
    values: Callable[[FusionSettings], Sequence[Any]]
    about: str
    vlm_setting: str = ""

    def field(self, settings: FusionSettings) -> str:
        """The field of `FusionSettings` that it changes in these settings."""
        return self.vlm_setting if settings.vlm and self.vlm_setting else self.setting


def _fixed(*values: Any) -> Callable[[FusionSettings], Sequence[Any]]:
    return lambda settings: values


def _scaled(setting: str, *factors: float) -> Callable[[FusionSettings], Sequence[Any]]:
    def values(settings: FusionSettings) -> Sequence[Any]:
        own = getattr(settings, setting)
        return [type(own)(max(own * factor, 1)) for factor in factors]

    return values


ABLATIONS: Mapping[str, Ablation] = {
    "connector-depth": Ablation("connector_depth", _fixed(1, 3, 5), "layers of the connector"),
    "connector-width": Ablation(
        "connector_width", _scaled("connector_width", 0.25, 0.5, 2.0), "width of its hidden layers"
    ),
    "encoder": Ablation("encoder", _fixed(), "the frozen encoder; name others with --value"),
    "heatmap-weight": Ablation(
        "heatmap_weight", _scaled("heatmap_weight", 0.1, 0.5, 2.0, 4.0), "weight of the gaze loss"
    ),
    "lora-rank": Ablation(
        "lora_rank", _scaled("lora_rank", 0.25, 0.5, 2.0), "rank of the language model's adapters"
    ),
    "box-masks": Ablation("box_masks", _fixed(False, True), "whether boxes are added to features"),
    "frozen": Ablation(
        "train_encoder",
        _fixed(False, True),
        "whether the encoder is trained along, or a VLM's own tower (vlm=true)",
        vlm_setting="train_vision",
    ),
    "aggregator": Ablation(
        "aggregator", _fixed("UPGrad", "PCGrad", "MGDA"), "conflict-aware joint training (TorchJD)"
    ),
}


@dataclass(frozen=True, slots=True)
class AblationPlan:
    """The runs of an ablation.

    Attributes:
        name: Of the ablation.
        reference: One run for each seed.
        settings: By label, what is changed and one run for each seed.
    """

    name: str
    reference: tuple[PlannedRun, ...]
    settings: Mapping[str, tuple[Changes, tuple[PlannedRun, ...]]]

    @property
    def runs(self) -> tuple[PlannedRun, ...]:
        """All of them."""
        return (*self.reference, *(run for _, runs in self.settings.values() for run in runs))


def plan_ablation(
    name: str, settings: FusionSettings, *, seeds: Sequence[int], values: Sequence[Any] = ()
) -> AblationPlan:
    """The runs of an ablation.

    Args:
        name: One of `ABLATIONS`.
        settings: The reference; its seed is set by `seeds`.
        seeds: Training seeds.
        values: To try in place of those of the list; the reference's own is left out.

    Raises:
        ConfigError: There is no such ablation, a value cannot be, or none differs from the
            reference.
    """
    if name not in ABLATIONS:
        raise ConfigError(
            f"Expected an ablation among {', '.join(ABLATIONS)}; found {name!r}. Choose one."
        )
    field = ABLATIONS[name].field(settings)
    own = getattr(settings, field)
    found = {}
    for value in values or ABLATIONS[name].values(settings):
        other = changed(settings, {field: value})
        if getattr(other, field) != own:
            label = _words(field, getattr(other, field))
            found[label] = ({field: getattr(other, field)}, over_seeds(other, seeds))
    if not found:
        raise ConfigError(
            f"Expected values of {name} other than the reference's, {own!r}, found none. Name some "
            "with --value."
        )
    return AblationPlan(name, over_seeds(settings, seeds), found)


def ablation_record(plan: AblationPlan, runs: Runs, *, name: str, margin: float) -> AblationRecord:
    """Every changed setting against the reference.

    Args:
        plan: From `plan_ablation`.
        runs: All of its runs.
        name: Of the record.
        margin: Points below which a difference is too small to matter.

    Raises:
        DataError: Predictions are missing or were changed.
        PairingError: Runs were tested on other rows.
    """
    found: list[tuple[str, Effect]] = []
    undefined: dict[str, dict[str, str]] = {}
    for label, (_, changed_runs) in plan.settings.items():
        some, undefined[label] = effects(runs.arms(plan.reference, changed_runs))
        found += [(label, one) for one in some]
    words = judged([one for _, one in found], margin=margin)
    by_label: dict[str, list[Effect]] = {label: [] for label in plan.settings}
    for (label, _), one in zip(found, words, strict=True):
        by_label[label].append(one)
    first = runs.records[plan.reference[0].name]
    settings = plan.reference[0].settings
    seeds = tuple(run.settings.seed for run in plan.reference)
    field = ABLATIONS[plan.name].field(settings)
    return AblationRecord(
        tool_version=tool_version(),
        name=name,
        settings=settings,
        reference=_words(field, getattr(settings, field)),
        runs=tuple(run_card(runs.records[run.name]) for run in plan.reference),
        trained=_trained(first),
        seeds=seeds,
        margin=margin,
        ablated=tuple(
            Setting(
                label=label,
                changes=dict(changes),
                runs=tuple(run_card(runs.records[run.name]) for run in own),
                trained=_trained(runs.records[own[0].name]),
                effects=tuple(by_label[label]),
                undefined=undefined[label],
            )
            for label, (changes, own) in plan.settings.items()
        ),
        signature=signature(settings, first, seeds, [plan.name]),
    )


def _trained(record: FusionRecord) -> int:
    """Number of trained parameters."""
    return sum(record.trained.parameters.values())


def _words(field: str, value: Any) -> str:
    """A value of a setting for people: `lora rank 8`, `without box masks`, `encoder frozen`."""
    name = field.replace("_", " ")
    if field.startswith("train_"):
        return f"{name.removeprefix('train ')} {'trained' if value else 'frozen'}"
    if isinstance(value, bool):
        return name if value else f"without {name}"
    if value == "":
        return f"no {name}"
    return f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
