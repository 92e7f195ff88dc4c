"""`sdiag ablate`: what each setting of SocialFusion is worth."""

from typing import TYPE_CHECKING, Annotated

import typer

from sdiag.commands.options import CACHE, RESULTS, Cache, Json, Results, RowList, emit
from sdiag.commands.task_roots import DataRoot, task_roots
from sdiag.commands.trainings import (
    Changes,
    Device,
    Encoder,
    Margin,
    SaveEvery,
    Seeds,
    Steps,
    TrainedTasks,
    extract_embedded,
    leads,
    record_name,
    reference,
    trained,
)
from sdiag.commands.transfer import effect_table

if TYPE_CHECKING:
    from pathlib import Path

    from socialfusion.records import FusionSettings
    from socialfusion.transfer.records import AblationRecord

__all__ = ["EXAMPLES", "ablate"]

EXAMPLES = (
    "Examples:  sdiag ablate box-masks  |  sdiag ablate encoder --value tiny:post  |  "
    "sdiag ablate lora-rank --task scenes-gaze --value 2 --value 4"
)


def ablate(
    name: Annotated[
        str,
        typer.Argument(
            metavar="SETTING",
            help="connector-depth, connector-width, encoder, heatmap-weight, lora-rank, box-masks, "
            "aggregator, or frozen (the encoder; with --set vlm=true a VLM's own tower).",
        ),
    ],
    value: Annotated[
        list[str] | None,
        typer.Option(
            "--value",
            help="To try in place of the list's own; repeat. Default for encoder: every other side "
            "that is cached with token maps of all tasks.",
        ),
    ] = None,
    encoder: Encoder = "tiny:pre",
    task: TrainedTasks = None,
    data_root: DataRoot = None,
    seeds: Seeds = 3,
    steps: Steps = None,
    rows: RowList = None,
    change: Changes = None,
    margin: Margin = 2.0,
    device: Device = "cpu",
    save_every: SaveEvery = 0,
    cache: Cache = CACHE,
    results: Results = RESULTS,
    json: Json = False,
) -> None:
    """Train SocialFusion with one setting changed, over seeds, and compare with the reference.

    The reference are the settings of `sdiag train-socialfusion`, and what --set changes in them.
    Runs that are complete, those of `sdiag transfer` among them, are not trained again. The record
    is RESULTS/ablations/SETTING-ENCODER.json.
    """
    from socialfusion.transfer.ablations import ablation_record, plan_ablation
    from socialfusion.transfer.plan import changed
    from socialfusion.transfer.records import write_ablation

    roots = task_roots(task, data_root) if task else None
    settings = reference(encoder, list(roots) if roots else None, steps, change)
    settings = changed(settings, {"row_list": rows or ""})
    extract_embedded(encoder, cache, settings.tasks)
    values = value or (_other_encoders(cache, settings) if name == "encoder" else ())
    plan = plan_ablation(name, settings, seeds=range(seeds), values=values)
    runs = trained(
        plan.runs,
        cache=cache,
        results=results,
        device=device,
        save_every=save_every,
        data_root=roots,
    )
    if not leads():
        return
    record = ablation_record(plan, runs, name=f"{name}-{record_name(settings)}", margin=margin)
    write_ablation(results, record)
    emit(record.model_dump(mode="json"), _text(record), as_json=json)


def _other_encoders(cache: "Path", settings: "FusionSettings") -> list[str]:
    """Sides in the cache with token maps of all tasks, as `PAIR:SIDE`; each encoder once."""
    from degradation.cache import open_features, pairs

    found: dict[str, dict[str, str]] = {}
    for entry in pairs(cache):
        for side in ("pre", "post"):
            features = open_features(cache, getattr(entry, side))
            if features.token_blocks:
                tasks = found.setdefault(f"{entry.pair}:{side}", {})
                tasks[entry.task] = features.encoder.digest
    whole = {
        name: tasks[settings.tasks[0]]
        for name, tasks in found.items()
        if set(settings.tasks) <= set(tasks)
    }
    own = whole.get(settings.encoder)
    first = {digest: name for name, digest in reversed(whole.items()) if digest != own}
    return sorted(first.values())


def _text(record: "AblationRecord") -> str:
    """The record for people: a table for each changed setting."""
    parts = [
        f"{record.name}: against {record.reference} ({record.trained:,} trained parameters), in "
        f"points; positive where the change helps. Training seeds: {len(record.seeds)}."
    ]
    for one in record.ablated:
        table = effect_table(one.effects, "reference", "changed").to_string(index=False)
        parts.append(f"{one.label} ({one.trained:,} trained parameters):\n{table}")
        parts[-1] += "".join(
            f"\nNo number for {what}: {why}" for what, why in one.undefined.items()
        )
    return "\n\n".join(parts)
