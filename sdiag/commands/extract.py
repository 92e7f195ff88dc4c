"""`sdiag extract`: pictures in, the features of both sides out."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sdiag.commands.options import CACHE, Cache, Json, Tasks, emit

__all__ = ["EXAMPLES", "extract", "extract_pairs"]

EXAMPLES = (
    "Examples:  sdiag extract  |  sdiag extract --model rotation --task scenes-expression  |  "
    "sdiag extract --pre hf:openai/clip-vit-base-patch32 --post hf:./my-tower "
    "--task manifest:faces.csv --data-root photos"
)


class Precision(StrEnum):
    """Arithmetic of the forward pass."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


def extract(
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", help="Registered pair; repeat for several. [default: tiny]"),
    ] = None,
    task: Tasks = None,
    data_root: Annotated[
        Path | None, typer.Option(help="Folder that the picture paths are relative to.")
    ] = None,
    pre: Annotated[
        str | None,
        typer.Option(
            help="Encoder before, in place of --model: tiny:SIDE, open_clip:NAME/TAG, timm:NAME, "
            "hf:REPO, or a local folder or file."
        ),
    ] = None,
    post: Annotated[str | None, typer.Option(help="Encoder after, with --pre.")] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the pair given by --pre/--post.")
    ] = None,
    block: Annotated[
        list[int] | None, typer.Option(help="Block to store; repeat. Default: all.")
    ] = None,
    token_block: Annotated[
        list[int] | None,
        typer.Option(help="Block whose token maps are stored too; repeat. Default: none."),
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="Picture side in pixels. Default: native to pre.")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Pictures per forward pass.", min=1)] = 64,
    shard_rows: Annotated[int, typer.Option(help="Rows per shard of the cache.", min=1)] = 256,
    workers: Annotated[int, typer.Option(help="Threads that open pictures.", min=1)] = 1,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps ...")] = "cpu",
    precision: Annotated[
        Precision, typer.Option(help="Arithmetic of the forward pass.")
    ] = Precision.FLOAT32,
    cache: Cache = CACHE,
    json: Json = False,
) -> None:
    """Extract the features of a pair, before and after, into the cache.

    Each picture is opened once and the same pixels go to both sides. Interrupt it at any moment:
    the next call goes on where it stopped.
    """
    import torch

    from degradation.encoders.registry import get_pair, pair_of
    from degradation.errors import ConfigError

    if (pre is None) != (post is None):
        raise ConfigError("--pre and --post go together. Give both, or --model with a pair's name.")
    if pre and post and model:
        raise ConfigError("Give either --model or --pre and --post, not both.")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # unknown, or not in this build
        raise ConfigError(
            f"Cannot compute on device {device!r}: {str(error).splitlines()[0]} "
            "Give --device cpu, or cuda on a machine with a GPU."
        ) from error
    if pre and post:
        pairs = [pair_of(pre, post, name=name)]
    else:
        pairs = [get_pair(one) for one in model or ["tiny"]]
    reports = extract_pairs(
        pairs,
        task,
        data_root,
        cache,
        size=size,
        blocks=tuple(block) if block else None,
        token_blocks=tuple(token_block or ()),
        batch_size=batch_size,
        shard_rows=shard_rows,
        workers=workers,
        device=device,
        compute_dtype=getattr(torch, precision.value),
    )
    lines = [
        f"{r['pair']:<12} {r['task']:<20} {r['split']:<6} {r['rows']:>7} rows  "
        f"{r['left_out']:>4} left out  {r['pictures_per_second']:>7.0f} pictures/s"
        for r in reports
    ]
    emit(reports, "\n".join([*lines, f"Features are in {cache}."]), as_json=json)


def extract_pairs(pairs, tasks, data_root, cache, **options) -> list[dict]:
    """Extract every pair on every split of every task; one summary per run."""
    from degradation.encoders.registry import load_encoder
    from degradation.extract import extract as extract_split
    from degradation.tasks.registry import DEFAULT_TASKS, get_task

    device = options.get("device", "cpu")
    summaries = []
    for pair in pairs:
        pre = load_encoder(pair.pre, device=device)
        post = load_encoder(pair.post, device=device)
        for task_name in tasks or DEFAULT_TASKS:
            task = get_task(task_name, data_root=data_root)
            for split in task.splits:
                done = extract_split(task, split, pair, pre, post, root=cache, **options)
                summaries.append(
                    {
                        "pair": pair.name,
                        "task": task.spec.name,
                        "split": split,
                        "rows": done.rows,
                        "left_out": sum(done.left_out.values()),
                        "left_out_reasons": done.left_out,
                        "pictures_per_second": done.images_per_second,
                    }
                )
    return summaries
