"""`sdiag gcd`: where the questions pull the encoder in opposite directions."""

import logging
import os
from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sdiag.commands.against import against_text, compare, read_pairwise
from sdiag.commands.cached import cached_pairs
from sdiag.commands.conflict_of_run import check_options, conflict_of_run
from sdiag.commands.options import (
    CACHE,
    RESULTS,
    Arithmetic,
    Cache,
    Json,
    Models,
    Results,
    RowList,
    Weights,
    emit,
)
from sdiag.commands.task_roots import DataRoot, task_roots

if TYPE_CHECKING:
    from probes.conflict.records import ConflictRecord, Interval

__all__ = ["EXAMPLES", "gcd"]

log = logging.getLogger(__name__)

EXAMPLES = (
    "Examples:  sdiag gcd  |  sdiag gcd --model tiny --batches 16  |  "
    "sdiag gcd --model qwen2-vl --task pisc-domain=PISC --task hagrid=HaGRID "
    "--parameters blocks:30,31 --sketch-only --device cuda --dtype bfloat16  |  "
    "sdiag gcd --checkpoint joint-seed0 --step 100 --step 300 --precondition adam"
)


class Precondition(StrEnum):
    """The metric that gradients are measured in."""

    NONE = "none"
    ADAM = "adam"


def gcd(
    task: Annotated[
        list[str] | None,
        typer.Option(
            "--task",
            "-t",
            help="Task name, or NAME=DIR; repeat. Default: all that are cached for the pair.",
        ),
    ] = None,
    data_root: DataRoot = None,
    model: Models = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            help="Of a SocialFusion run instead of encoders: its folder, or its name below "
            "RESULTS/socialfusion. Its own losses, on the rows it was trained on.",
        ),
    ] = None,
    step: Annotated[
        list[str] | None,
        typer.Option(
            help="With --checkpoint: number of a saved step, or final; repeat. Default: all that "
            "are saved."
        ),
    ] = None,
    parameters: Annotated[
        str | None,
        typer.Option(
            metavar="PART",
            help="Whose gradients: encoder, or some of its blocks, as blocks:1,2; with "
            "--checkpoint connector, lora, boxes, heatmap or all. Every block and kind of module "
            "is reported in the same pass. Default: encoder, or all.",
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Rows in a batch.", min=1)] = 16,
    batches: Annotated[
        int,
        typer.Option(help="Batches of each question; fewer where clusters do not suffice.", min=2),
    ] = 32,
    split: Annotated[
        str | None,
        typer.Option(
            help="Split whose rows make the batches. On train and val, which the heads are fitted "
            "on, gradients cancel in part. Default: test; with --checkpoint train."
        ),
    ] = None,
    micro_batch: Annotated[
        int | None,
        typer.Option(help="Rows in one backward pass. Default: the whole batch.", min=1),
    ] = None,
    sketch_only: Annotated[
        bool,
        typer.Option(
            "--sketch-only",
            help="Keep sketches of gradients alone: the memory of one gradient and not of two for "
            "each question, and an error of about 0.8 % of the product of their norms.",
        ),
    ] = False,
    precondition: Annotated[
        Precondition,
        typer.Option(
            help="adam: measure gradients as Adam would step along them, by a second moment "
            "estimated on batches of its own; with --checkpoint by that of the training."
        ),
    ] = Precondition.NONE,
    swapped_labels: Annotated[
        bool,
        typer.Option(
            "--swapped-labels",
            help="Also the same with labels swapped between clusters: the agreement that there is "
            "without any label.",
        ),
    ] = False,
    rows: RowList = None,
    against_transfer: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Set conflict beside the pairwise transfer of RESULTS/transfer/NAME.json, which "
            "`sdiag transfer --pairwise` measured on the same encoder.",
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 ...")] = "cpu",
    dtype: Annotated[
        Arithmetic | None,
        typer.Option(
            help="Arithmetic of the passes; sums are float32 all the same. Default: float32; with "
            "--checkpoint that of the training."
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Threads that open pictures. Default: the cores.", min=1)
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of batches, sketches and swaps.")] = 0,
    weights: Weights = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Ask nothing of the hub; also so by HF_HUB_OFFLINE=1.")
    ] = False,
    cache: Cache = CACHE,
    results: Results = RESULTS,
    json: Json = False,
) -> None:
    """Measure whether questions pull an encoder apart: GCD = 1 - cos of their gradients.

    Beside the raw number, which is nearly all noise of the batches, stands the one with the noise
    taken out, with its interval. Heads are fitted on the cached features until they have
    converged; pictures are read anew, and both sides are shown the same batches. Into `gcd.json`
    in the folder of the pair, with the scalar products that all numbers follow from. With an empty
    cache and no options, the embedded pair is extracted first.
    """
    if checkpoint is not None or step:
        check_options(
            checkpoint,
            {
                "--model": model,
                "--swapped-labels": swapped_labels,
                "--rows": rows,
                "--against-transfer": against_transfer,
                "--dtype": dtype,
                "--workers": workers,
                "--offline": offline,
            },
        )
        one = conflict_of_run(
            checkpoint,
            cache=cache,
            results=results,
            steps=step or (),
            tasks=task_roots(task, data_root) if task else {},
            parameters=parameters,
            batch_size=batch_size,
            batches=batches,
            split=split,
            exact=not sketch_only,
            adam=precondition is Precondition.ADAM,
            device=device,
            micro_batch=micro_batch,
            seed=seed,
        )
        emit([summary(one)], conflict_table(one), as_json=json)
        return
    import torch

    from degradation.errors import ConfigError
    from degradation.tasks.registry import get_task
    from probes.conflict.objectives import Passes
    from probes.conflict.run import conflict_pair
    from probes.conflict.study import Settings

    measured = None if against_transfer is None else read_pairwise(results, against_transfer)
    roots = task_roots(task, data_root) if task else {}
    settings = Settings(
        parameters=parameters or "encoder",
        batch_size=batch_size,
        batches=batches,
        split=split or "test",
        row_list=rows or "",
        exact=not sketch_only,
        adam=precondition is Precondition.ADAM,
        swapped=swapped_labels,
        passes=Passes(device, getattr(torch, dtype.value if dtype else "float32"), micro_batch),
        workers=workers or os.cpu_count() or 1,
        seed=seed,
    )
    tasks: dict[str, list[str]] = {}
    for pair, name in cached_pairs(cache, list(roots) or None, model):
        tasks.setdefault(pair, []).append(name)
    records, skipped = {}, []
    for pair, names in tasks.items():
        try:
            records[pair] = conflict_pair(
                cache,
                [get_task(name, data_root=roots.get(name, data_root)) for name in names],
                pair,
                results=results,
                settings=settings,
                weights=weights,
                offline=offline,
            )
        except ConfigError as error:  # by default, whatever can be measured
            if model is not None or len(tasks) == 1:
                raise
            log.warning("%s is left out: %s", pair, error)
            skipped.append(error)
    if not records:
        raise skipped[0]
    data = [summary(one) for one in records.values()]
    texts = [conflict_table(one) for one in records.values()]
    if measured is not None:
        beside = compare(records, measured, results)
        data += [one.model_dump(mode="json") for one in beside]
        texts += [against_text(one) for one in beside]
    emit(data, "\n\n".join(texts), as_json=json)


def summary(record: "ConflictRecord") -> dict[str, Any]:
    """The record as JSON values, of all parts only the whole."""
    data = record.model_dump(mode="json")
    for side in data["sides"]:
        for name in ("tasks", "pairs"):
            side[name] = [one for one in side[name] if one["part"] == "all"]
    data["changes"] = [one for one in data["changes"] if one["part"] == "all"]
    return data


def conflict_table(record: "ConflictRecord") -> str:
    """All pairs of questions on all parameters, as aligned text; of swapped labels the words.

    Of more than two sides only the corrected numbers; changes are from the first to the last.
    """
    sides = [side for side in record.sides if side.labels == "own"]
    header, brief = ["questions"], len(sides) > 2
    for side in sides:
        header += [f"GCD {side.name}", "", *([] if brief else ["raw", "floor"])]
    changes = {
        (one.first, one.second): one.cosine
        for one in record.changes
        if one.part == "all" and one.labels == "own"
    }
    header += ["change of GCD"] if len(sides) > 1 else []
    table = [header]
    for pair in [one for one in sides[0].pairs if one.part == "all"]:
        line = [f"{_short(pair.first)} x {_short(pair.second)}"]
        for side in sides:
            own = side.pair(pair.first, pair.second)
            line += [_number(own.gcd), own.word]
            line += [] if brief else [f"{own.raw:.2f}", f"{own.floor:.2f}"]
        if len(sides) > 1:
            change = changes.get((pair.first, pair.second))
            line.append(_number(change and _turned(change)))
        table.append(line)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in table
    ]
    about = (
        f"{record.model}: {len(record.questions)} questions, {record.batches} batches of "
        f"{record.batch_size} rows of {record.split}, gradients of {record.parameters}. Above 1 is "
        "conflict; noise alone is the floor."
    )
    for side in record.sides:
        if side.labels == "swapped":
            words = Counter(one.word for one in side.pairs if one.part == "all")
            tally = ", ".join(f"{count} {word}" for word, count in sorted(words.items()))
            lines.append(f"With swapped labels, {side.name}: {tally}.")
    return "\n".join([about, *lines])


def _short(label: str) -> str:
    """`scenes-relation/domain` as `relation/domain`, `scenes-gaze/gaze` as `gaze`."""
    task, _, question = label.removeprefix("scenes-").partition("/")
    return question if task in (question, "") else f"{task}/{question}"


def _turned(cosine: "Interval") -> "Interval":
    """The change of the degree, which is minus that of the cosine."""
    low, high = cosine.low, cosine.high
    return cosine.model_copy(
        update={
            "value": -cosine.value,
            "low": None if high is None else -high,
            "high": None if low is None else -low,
        }
    )


def _number(one: "Interval | None") -> str:
    """A number with its interval; a dash without one, dots for an end that is not known."""
    if one is None:
        return "–"
    low, high = ("..." if end is None else f"{end:.2f}" for end in (one.low, one.high))
    return f"{one.value:.2f} [{low}, {high}]"
