"""How models were trained and compared: a paragraph, and the commands that do it again."""

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence

from reports.formats import count
from reports.fusion.load import Trainings
from reports.markdown import escape
from reports.transfer.words import FEWEST, model_words
from socialfusion.defaults import default_settings
from socialfusion.records import FusionSettings
from socialfusion.transfer.records import AblationRecord, TransferRecord

__all__ = ["training_commands", "training_methods"]

OWN_OPTIONS = {"encoder", "tasks", "seed", "steps", "budget", "row_list"}
"""Settings that have an option of their own, or that a comparison sets."""
ABLATIONS = {"train_encoder": "frozen", "train_vision": "frozen"}
"""Ablations that do not go by the name of the setting that they change."""


def training_methods(found: Trainings) -> str:
    """What was trained and how changes were judged, in sentences; empty without a comparison."""
    compared = (*found.transfers, *found.ablations)
    if not compared:
        return ""
    models = dict.fromkeys(model_words(one.settings).rstrip(",") for one in compared)
    first = compared[0].settings
    said = [
        f"Models were trained and compared: {escape('; '.join(models))}. The first: "
        f"{count(first.steps)} steps, {first.batch_size} rows of a question in a batch, AdamW at "
        f"{first.learning_rate:g} with warm-up and cosine, {escape(first.dtype)}.",
        "Scores of classes are length-normalised log-likelihoods of their answers. A change is "
        "averaged over training seeds; its interval is Student's t on the jackknife over test "
        f"clusters and, from {FEWEST} seeds on, the variance between seeds; p are corrected by "
        "Holm over the declared metrics of a table, by Benjamini and Hochberg over all others.",
    ]
    return " ".join(said)


def training_commands(found: Trainings, named: Callable[[str], str]) -> Iterator[str]:
    """Command lines that make the comparisons again; lines that begin with # are remarks.

    Args:
        found: The trained models.
        named: A task as the commands take it, with its folder where it needs one.
    """
    compared = (*found.transfers, *found.ablations)
    blocks = {
        (run.encoder.pair, run.encoder.block)
        for run in found.runs.values()
        if run.encoder.pair and not run.settings.from_pictures
    }
    for pair, block in sorted(blocks):
        yield f"# Token maps of {_plain(pair)}: sdiag extract, with --token-block {block}"
    for one in compared:
        head = _transfer(one) if isinstance(one, TransferRecord) else _ablation(one)
        shared = {
            "--encoder": [one.settings.encoder],
            "--task": [named(task) for task in one.settings.tasks],
            "--seeds": [str(len(one.seeds))],
            "--steps": [str(one.settings.steps)],
            "--set": _changes(one.settings),
            "--margin": [f"{one.margin:g}"],
        }
        yield shlex.join(["sdiag", *head, *_options(shared)])
    if found.runs and not compared:
        yield "# The trained models: sdiag train-socialfusion, with the settings in fusion.json"


def _transfer(one: TransferRecord) -> list[str]:
    """The command and the options of its own."""
    own = {
        "--budget": list(dict.fromkeys(variant.budget for variant in one.variants)),
        "--rows": list(dict.fromkeys(v.row_list for v in one.variants if v.row_list)),
        "--name": [one.name],
    }
    pairwise = ["--pairwise"] if any(variant.pairwise for variant in one.variants) else []
    return ["transfer", *_options(own), *pairwise]


def _ablation(one: AblationRecord) -> list[str]:
    """The command with the values that were tried."""
    field = next((name for each in one.ablated for name in each.changes), "")
    setting = ABLATIONS.get(field, field.replace("_", "-"))
    values = [_text(value) for each in one.ablated for value in each.changes.values()]
    rows = [one.settings.row_list] if one.settings.row_list else []
    return ["ablate", setting, *_options({"--value": values, "--rows": rows})]


def _changes(settings: FusionSettings) -> list[str]:
    """What differs from the settings that the command starts from, as NAME=VALUE."""
    start = default_settings(settings.encoder, settings.tasks, vlm=settings.vlm)
    return [
        f"{name}={_text(value)}"
        for name, value in settings.model_dump().items()
        if name not in OWN_OPTIONS and (value != getattr(start, name) or (name == "vlm" and value))
    ]


def _text(value: object) -> str:
    """A value as the commands read it."""
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _options(values: Mapping[str, Sequence[str]]) -> list[str]:
    """Each option with each of its values."""
    return [part for name, each in values.items() for value in each for part in (name, value)]


def _plain(text: str) -> str:
    """A name within a remark, on its line."""
    return " ".join(text.split())
