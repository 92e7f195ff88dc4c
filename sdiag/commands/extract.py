"""`sdiag extract`: pictures in, the features of both sides out."""

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sdiag.commands.options import CACHE, Arithmetic, Cache, Json, Tasks, Weights, emit

__all__ = ["EXAMPLES", "extract", "extract_pairs"]

EXAMPLES = (
    "Examples:  sdiag extract  |  sdiag extract --model rotation --task scenes-expression  |  "
    "sdiag extract --pre hf:openai/clip-vit-base-patch32 --post hf:./my-tower "
    "--task manifest:faces.csv --data-root photos"
)


class Shape(StrEnum):
    """How a picture becomes an array."""

    SQUASH = "squash"
    PAD = "pad"
    SHORT_CROP = "short-crop"
    NATIVE = "native"


class Resampling(StrEnum):
    """Resampling filter."""

    BICUBIC = "bicubic"
    BILINEAR = "bilinear"
    BILINEAR_FLOAT = "bilinear-float"


class Stage(StrEnum):
    """Where features are taken."""

    BLOCK = "block"
    NATIVE_NORM = "native_norm"


class Positions(StrEnum):
    """What becomes of learned positions on another grid than their own."""

    NONE = "none"
    BICUBIC = "bicubic"


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
            "hf:REPO, or a local folder or file; random:NAME for that one with fresh weights."
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
        typer.Option(
            help="Block whose token maps are stored too, of tracks those of every frame; repeat. "
            "Default: none."
        ),
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="Picture side in pixels. Default: native to pre.")
    ] = None,
    geometry: Annotated[
        Shape,
        typer.Option(
            help="How a picture becomes an array: squash makes a square and loses nothing but the "
            "aspect ratio; pad centres it on black, which pooling leaves out; short-crop cuts the "
            "longer sides off; native is what the encoder after is shown in its own model, which "
            "need not be a square. Both sides always get the same pixels, and boxes and gaze "
            "points move along.",
        ),
    ] = Shape.SQUASH,
    max_pixels: Annotated[
        int | None,
        typer.Option(
            help="Largest area of a --geometry native array that follows the picture's shape, in "
            "pixels. Default: that of the model, 13 to 17 million for Qwen, which few studies can "
            "afford; 602112 is 768 tokens of its language model.",
            show_default=False,
        ),
    ] = None,
    filter: Annotated[
        Resampling | None,
        typer.Option(help="Resampling. Default: bicubic, or the native one.", show_default=False),
    ] = None,
    crop: Annotated[
        str | None,
        typer.Option(
            metavar="ROLE",
            help="Cut each picture to its box of this role first, for example face. Rows without "
            "one are left out. Default: what the task says; `image` for whole pictures.",
            show_default=False,
        ),
    ] = None,
    margin: Annotated[
        float, typer.Option(help="Widen the --crop by this share of its sides at each end.", min=0)
    ] = 0.0,
    pool: Annotated[
        str,
        typer.Option(
            metavar="HOW",
            help="From patch tokens to a vector for each region: mean, max, gem, grid:KxK (the "
            "means of K x K fields), or cls (the class token, for the whole image only).",
        ),
    ] = "mean",
    keep_padding: Annotated[
        bool, typer.Option("--keep-padding", help="Pool the black of --geometry pad as well.")
    ] = False,
    normalisation: Annotated[
        str,
        typer.Option(
            metavar="HOW",
            help="Channel statistics: native to each encoder, or shared:clip, shared:imagenet, "
            "shared:half for both.",
        ),
    ] = "native",
    positions: Annotated[
        Positions,
        typer.Option(
            help="On another grid than its own (another --size, or --geometry native), a table of "
            "learned positions is interpolated (bicubic), or refused unless its own model resizes "
            "it (none).",
        ),
    ] = Positions.NONE,
    stage: Annotated[
        Stage,
        typer.Option(
            help="Where features are taken: behind a block, or for the last block behind the norm "
            "that its own model applies there, if any (native_norm).",
        ),
    ] = Stage.BLOCK,
    batch_size: Annotated[int, typer.Option(help="Pictures per forward pass.", min=1)] = 64,
    shard_rows: Annotated[int, typer.Option(help="Rows per shard of the cache.", min=1)] = 256,
    workers: Annotated[
        int | None, typer.Option(help="Threads that open pictures. Default: the cores.", min=1)
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps ...")] = "cpu",
    precision: Annotated[
        Arithmetic, typer.Option(help="Arithmetic of the forward pass.")
    ] = Arithmetic.FLOAT32,
    compile: Annotated[
        bool, typer.Option("--compile", help="Compile the encoders: minutes first, then faster.")
    ] = False,
    cache_pictures: Annotated[
        bool,
        typer.Option(
            "--cache-pictures",
            help="Keep the scaled pictures in the cache folder, uncompressed, so that another "
            "pair of the same size decodes nothing.",
        ),
    ] = False,
    random_init: Annotated[
        bool,
        typer.Option(
            "--random-init",
            help="Also the features of a tower like the one before with fresh weights, in the same "
            "pass: `sdiag probe` then says what the same probe reads from an untrained encoder.",
        ),
    ] = False,
    weights: Weights = None,
    pre_revision: Annotated[
        str | None,
        typer.Option(
            metavar="COMMIT",
            help="Commit of the published encoder before, so that the same weights come tomorrow.",
        ),
    ] = None,
    post_revision: Annotated[
        str | None, typer.Option(metavar="COMMIT", help="Commit of the published encoder after.")
    ] = None,
    offline: Annotated[
        bool,
        typer.Option("--offline", help="Ask nothing of the hub; also so by HF_HUB_OFFLINE=1."),
    ] = False,
    cache: Cache = CACHE,
    json: Json = False,
) -> None:
    """Extract the features of a pair, before and after, into the cache.

    Each picture is opened once and the same pixels go to both sides. By another protocol than the
    standard one a pair is named after that too, so that both can be in one report. Interrupt it at
    any moment: the next call goes on where it stopped. Under `torchrun -m sdiag extract ...` or
    `accelerate launch -m sdiag extract ...` the processes share the work, each on its own GPU.
    """
    import torch

    from degradation.device import check_device
    from degradation.encoders.registry import get_pair, pair_of
    from degradation.errors import ConfigError
    from degradation.geometry import Geometry
    from degradation.protocol import Protocol
    from degradation.ranks import joined

    if (pre is None) != (post is None):
        raise ConfigError("--pre and --post go together. Give both, or --model with a pair's name.")
    if pre and post and model:
        raise ConfigError("Give either --model or --pre and --post, not both.")
    check_device(device)
    if pre and post:
        pairs = [pair_of(pre, post, name=name)]
    else:
        pairs = [get_pair(one) for one in model or ["tiny"]]
    asked = {
        "size": size,
        "filter": filter and filter.value,
        "max_pixels": max_pixels,
        "crop": crop,
        "margin": margin or None,
    }
    asked = {knob: value for knob, value in asked.items() if value is not None}
    if len(pairs) > 1 and (pre_revision or post_revision):
        raise ConfigError("A revision is of one repository. Give one --model with it.")
    protocols = {}
    for one in pairs:
        protocol = Protocol(
            geometry=native_geometry(one.post, **asked)
            if geometry is Shape.NATIVE
            else Geometry(geometry.value, **asked),
            pool=pool,
            mask_pad=not keep_padding,
            normalisation=normalisation,
            positions=positions.value,
            stage=stage.value,
        )
        protocols[one if name else arm(one, protocol)] = protocol
    with joined() as ranks:
        reports = extract_pairs(
            protocols,
            task,
            data_root,
            cache,
            weights=weights,
            revisions=(pre_revision, post_revision),
            offline=offline,
            blocks=tuple(block) if block else None,
            token_blocks=tuple(token_block or ()),
            batch_size=batch_size,
            shard_rows=shard_rows,
            workers=workers or ranks.cores,
            device=ranks.device(device),
            compute_dtype=getattr(torch, precision.value),
            compile=compile,
            cache_pictures=cache_pictures,
            random_init=random_init,
            ranks=ranks,
        )
    if not ranks.leads:
        return
    lines = [
        f"{r['pair']:<12} {r['task']:<20} {r['split']:<6} {r['rows']:>7} rows  "
        f"{r['left_out']:>4} left out  {r['pictures_per_second']:>7.0f} pictures/s"
        for r in reports
    ]
    emit(reports, "\n".join([*lines, f"Features are in {cache}."]), as_json=json)


def native_geometry(post: str, **asked):
    """How the model after shows one whole picture to its own tower.

    Args:
        post: Name of the encoder after.
        asked: Fields of `Geometry` to be otherwise.

    Raises:
        ConfigError: It is not known for this encoder.
    """
    from degradation.encoders.catalogue import find_encoder
    from degradation.errors import ConfigError

    row = find_encoder(post)
    if row is None:
        raise ConfigError(
            f"The native geometry is known for the encoders that `sdiag encoders` lists, and "
            f"{post} is none of them. Choose squash, pad or short-crop."
        )
    return replace(row.native, **asked).at(row.size)


def arm(pair, protocol):
    """The pair, named after the protocol too unless that is the standard one.

    So the arms of a comparison stand beside each other in a cache and in a report.
    """
    from degradation.protocol import Protocol

    if protocol.name == Protocol().name:
        return pair
    return replace(pair, name=f"{pair.name}+{protocol.name}")


def extract_pairs(
    protocols,
    tasks,
    data_root,
    cache,
    *,
    weights=None,
    revisions=(None, None),
    offline=False,
    random_init=False,
    **options,
) -> list[dict]:
    """Extract pairs, each by its protocol, on every split of every task; one summary per run."""
    from degradation.extract import extract as extract_split
    from degradation.pair_features import load_sides
    from degradation.tasks.registry import DEFAULT_TASKS, get_task

    summaries = []
    for pair, protocol in protocols.items():
        pre, post, random = load_sides(
            pair,
            protocol,
            device=options.get("device", "cpu"),
            weights=weights,
            revisions=revisions,
            offline=offline,
            random_init=random_init,
        )
        for task_name in tasks or DEFAULT_TASKS:
            task = get_task(task_name, data_root=data_root)
            for split in task.splits:
                done = extract_split(
                    task, split, pair, pre, post,
                    root=cache, protocol=protocol, random=random, **options,
                )  # fmt: skip
                summaries.append(
                    {
                        "pair": pair.name,
                        "task": task.spec.name,
                        "split": split,
                        "protocol": done.entry.protocol,
                        "rows": done.rows,
                        "left_out": sum(done.left_out.values()),
                        "left_out_reasons": done.left_out,
                        "pictures_per_second": done.images_per_second,
                    }
                )
    return summaries
