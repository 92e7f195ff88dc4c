"""`sdiag transfer`: does training on several tasks help each of them?"""

from typing import TYPE_CHECKING, Annotated

import typer

from sdiag.commands.options import CACHE, RESULTS, Cache, Json, Results, emit
from sdiag.commands.task_roots import DataRoot, task_roots
from sdiag.commands.trainings import (
    Budget,
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
    question_counts,
    record_name,
    reference,
    trained,
)

if TYPE_CHECKING:
    import pandas as pd

    from socialfusion.transfer.records import Effect, TransferRecord, VariantCard

__all__ = ["EXAMPLES", "effect_table", "transfer"]

EXAMPLES = (
    "Examples:  sdiag transfer  |  sdiag transfer --task scenes-gaze --task scenes-looking "
    "--steps 200  |  sdiag transfer --encoder qwen2-vl:post --task pisc-domain --task gazefollow "
    "--rows clean --pairwise --device cuda"
)


def transfer(
    encoder: Encoder = "tiny:pre",
    task: TrainedTasks = None,
    data_root: DataRoot = None,
    seeds: Seeds = 3,
    steps: Steps = None,
    pairwise: Annotated[
        bool,
        typer.Option("--pairwise", help="Also train every two tasks, for the pairwise matrix."),
    ] = False,
    budget: Annotated[
        list[Budget] | None,
        typer.Option(
            help="per-task: joint training sees as many rows of each question as single training "
            "(equal samples). total: it takes as many steps of as many rows (equal steps). "
            "Default: both."
        ),
    ] = None,
    rows: Annotated[
        list[str] | None,
        typer.Option(
            help="Beside the official rows, also those of the row lists of this name, which "
            "`sdiag audit --clean` makes; repeat."
        ),
    ] = None,
    change: Changes = None,
    name: Annotated[
        str | None,
        typer.Option(help="Name of the record. Default: that of the encoder, as tiny-pre."),
    ] = None,
    margin: Margin = 2.0,
    device: Device = "cpu",
    save_every: SaveEvery = 0,
    cache: Cache = CACHE,
    results: Results = RESULTS,
    json: Json = False,
) -> None:
    """Train SocialFusion on each task alone and on all together, and compare on the same test rows.

    Every number is joint minus single, in points, positive where joint training helps, with an
    interval for test rows and training seeds. Runs that are complete are not trained again: after
    an interruption, the same command goes on. The record is RESULTS/transfer/NAME.json.
    """
    from socialfusion.transfer.plan import plan_transfer
    from socialfusion.transfer.records import write_transfer
    from socialfusion.transfer.run import transfer_record

    roots = task_roots(task, data_root) if task else None
    settings = reference(encoder, list(roots) if roots else None, steps, change)
    extract_embedded(encoder, cache, settings.tasks)
    plans = plan_transfer(
        settings,
        questions=question_counts(cache, settings),
        seeds=range(seeds),
        budgets=[one.value for one in budget or Budget],
        row_lists=["", *(rows or ())],
        pairwise=pairwise,
    )
    runs = trained(
        [run for plan in plans for run in plan.runs],
        cache=cache,
        results=results,
        device=device,
        save_every=save_every,
        data_root=roots,
    )
    if not leads():
        return
    record = transfer_record(name or record_name(settings), plans, runs, margin=margin)
    write_transfer(results, record)
    emit(record.model_dump(mode="json"), _text(record), as_json=json)


def _text(record: "TransferRecord") -> str:
    """The record for people: for each variant the table, the count and the pairs."""
    few = "" if len(record.seeds) > 2 else " Fewer than three seeds: no verdicts."
    parts = [
        f"{record.name}: joint minus single on {record.settings.encoder}, in points; positive "
        f"where joint training helps. {len(record.seeds)} training seed"
        f"{'s' if len(record.seeds) > 1 else ''}.{few}"
    ]
    parts += [_variant_text(one) for one in record.variants]
    return "\n\n".join(parts)


def _variant_text(variant: "VariantCard") -> str:
    table = effect_table(variant.joint, "single", "joint")
    count = variant.count
    text = (
        f"{variant.name}:\n{table.to_string(index=False)}\n"
        f"Positive transfer in {count.positive} of {count.of} counted metrics (*); the interval is "
        f"above 0 in {count.surely_positive} and below it in {count.surely_negative}."
    )
    if variant.pairwise:
        text += f"\nWhat training with another task does:\n{_matrix(variant).to_string()}"
    for what, why in variant.undefined.items():
        text += f"\nNo number for {what}: {why}"
    return text


def effect_table(effects: "tuple[Effect, ...]", before: str, after: str) -> "pd.DataFrame":
    """Effects as a table for the terminal; counted metrics have a star.

    Args:
        effects: From a record.
        before: Heading of the first training.
        after: Heading of the other.
    """
    import pandas as pd

    from reports.formats import estimate, points, verdict

    return pd.DataFrame(
        [
            {
                "question": one.question,
                "metric": one.metric + ("*" if one.counted else ""),
                before: points(one.before),
                after: points(one.after),
                "change [95 %]": estimate(one.change, delta=True),
                "": one.word if one.word == "not judged" else verdict(one.word),
            }
            for one in effects
        ]
    )


def _matrix(variant: "VariantCard") -> "pd.DataFrame":
    """Declared metrics of each question by the task that was trained beside."""
    import pandas as pd

    from reports.formats import estimate

    cells: dict[str, dict[str, str]] = {}
    for beside, effects in variant.pairwise.items():
        for one in effects:
            if one.declared:
                row = cells.setdefault(one.question, {})
                row[f"with {beside}"] = estimate(one.change, delta=True)
    return pd.DataFrame.from_dict(cells, orient="index").fillna("")
