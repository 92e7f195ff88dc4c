"""`sdiag train-socialfusion`: the cure, trained and tested."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from sdiag.commands.options import (
    CACHE,
    RESULTS,
    Arithmetic,
    Cache,
    Json,
    Results,
    RowList,
    emit,
)
from sdiag.commands.task_roots import DataRoot, task_roots
from sdiag.commands.trainings import (
    Budget,
    Device,
    SaveEvery,
    TrainedTasks,
    extract_embedded,
    leads,
)

if TYPE_CHECKING:
    from socialfusion.records import FusionRecord

__all__ = ["EXAMPLES", "train_socialfusion"]

EXAMPLES = (
    "Examples:  sdiag train-socialfusion  |  "
    "sdiag train-socialfusion --task scenes-gaze --run gaze --seed 1  |  "
    "sdiag train-socialfusion --encoder qwen2-vl:post --task pisc-domain --task gazefollow "
    "--steps 20000 --eval-every 1000 --patience 3 --device cuda --dtype bfloat16  |  "
    "sdiag train-socialfusion --vlm Qwen/Qwen2-VL-2B-Instruct --task pisc-domain --data-root "
    "PISC/ --device cuda"
)


class Attention(StrEnum):
    """What picture and prompt see of each other."""

    CAUSAL = "causal"
    PREFIX = "prefix"


class Tracker(StrEnum):
    """Where curves are sent beside the record."""

    TENSORBOARD = "tensorboard"
    WANDB = "wandb"


def train_socialfusion(
    encoder: Annotated[
        str, typer.Option(help="Encoder: PAIR:SIDE, or the name of a side of any pair.")
    ] = "tiny:pre",
    task: TrainedTasks = None,
    data_root: DataRoot = None,
    language_model: Annotated[
        str | None,
        typer.Option(
            help="Causal language model: a name on the hub or a folder. Default: the one that "
            "ships for encoders that ship, meta-llama/Llama-3.2-1B for all others."
        ),
    ] = None,
    vlm: Annotated[
        str | None,
        typer.Option(
            help="Fine-tune this Qwen2-VL itself in place of SocialFusion, with adapters, on the "
            "same rows, prompts and scores: a name on the hub or a folder, such as "
            "Qwen/Qwen2-VL-2B-Instruct. It sees the pictures with its own tower; of --encoder "
            "only the rows of its cache are used."
        ),
    ] = None,
    train_vision: Annotated[
        bool, typer.Option("--train-vision", help="With --vlm: train its vision tower, too.")
    ] = False,
    max_pixels: Annotated[
        int | None,
        typer.Option(help="With --vlm: largest area of a picture as it sees it. Default: 451584."),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(
            help="Name of the run: its folder below RESULTS/socialfusion. Default: the task, or "
            "`joint`, with the seed."
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(help="Optimiser steps. Default: 10,000; 400 for encoders that ship."),
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Rows of a batch.")] = 16,
    budget: Annotated[
        Budget,
        typer.Option(
            help="per-task: at every step each question sees as many rows as in a run of its own. "
            "total: all questions share the rows of one batch."
        ),
    ] = Budget.PER_TASK,
    mixing: Annotated[
        str,
        typer.Option(
            help="equal: every step has rows of each question. temperature:T: the question of a "
            "batch is drawn in proportion to rows^(1/T)."
        ),
    ] = "equal",
    accumulation: Annotated[
        int, typer.Option(help="Batches of a step under temperature mixing.")
    ] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights, order and dropout.")] = 0,
    lr: Annotated[
        float | None,
        typer.Option(help="Peak learning rate. Default: 2e-4; 4e-3 for encoders that ship."),
    ] = None,
    warmup: Annotated[float, typer.Option(help="Share of the steps in which it rises.")] = 0.03,
    weight_decay: Annotated[float, typer.Option(help="Of AdamW.")] = 0.0,
    aggregator: Annotated[
        str,
        typer.Option(
            help="TorchJD aggregator for the gradients of the questions: UPGrad, PCGrad, MGDA. "
            "Default: their mean."
        ),
    ] = "",
    block: Annotated[
        int | None, typer.Option(help="Encoder block. Default: the pair's declared one.")
    ] = None,
    rows: RowList = None,
    connector_depth: Annotated[int, typer.Option(help="Linear layers of the connector.")] = 3,
    connector_width: Annotated[
        int | None,
        typer.Option(help="Width between them. Default: 4096; 192 for encoders that ship."),
    ] = None,
    lora_rank: Annotated[
        int | None,
        typer.Option(help="Rank of the adapters. Default: 32; 8 for encoders that ship."),
    ] = None,
    lora_dropout: Annotated[
        float, typer.Option(help="Share of an adapter's inputs that is dropped in training.")
    ] = 0.0,
    heatmap_weight: Annotated[
        float | None,
        typer.Option(
            help="Lambda: the gaze loss is multiplied by it. Default: 50; 100 for encoders that "
            "ship."
        ),
    ] = None,
    box_masks: Annotated[
        bool, typer.Option(help="Whether boxes are marked in the picture.")
    ] = True,
    attention: Annotated[
        Attention | None,
        typer.Option(
            help="causal: as the language model was trained; prefix: picture and prompt see each "
            "other both ways. Default: causal; prefix for encoders that ship."
        ),
    ] = None,
    dtype: Annotated[
        Arithmetic | None,
        typer.Option(help="Arithmetic. Default: bfloat16; float32 for encoders that ship."),
    ] = None,
    device: Device = "cpu",
    memory: Annotated[
        float | None,
        typer.Option(
            help="GB of token maps that may be held; the rest is read from disk at every step. "
            "Default: a quarter of the machine's memory.",
            min=0,
        ),
    ] = None,
    eval_every: Annotated[
        int, typer.Option(help="Steps between looks at the validation rows; 0 for none.")
    ] = 0,
    patience: Annotated[
        int,
        typer.Option(help="Looks without a better loss after which a question stops; 0: never."),
    ] = 0,
    validation_rows: Annotated[
        int, typer.Option(help="Most rows of each question that a look takes.")
    ] = 500,
    save_every: SaveEvery = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint, if there is one.")
    ] = False,
    online: Annotated[
        bool,
        typer.Option("--online", help="Compute tokens from the pictures at every step."),
    ] = False,
    augment: Annotated[
        bool, typer.Option("--augment", help="Flip and cut pictures at random; with --online.")
    ] = False,
    train_encoder: Annotated[
        bool,
        typer.Option(
            "--train-encoder",
            help="Train the encoder along, up to the block that is read; tokens are computed from "
            "the pictures at every step.",
        ),
    ] = False,
    encoder_lr: Annotated[
        float | None,
        typer.Option(help="Its peak learning rate. Default: a tenth of the others'."),
    ] = None,
    generate: Annotated[
        bool, typer.Option("--generate", help="Let it write its answers too, and compare.")
    ] = False,
    tracker: Annotated[Tracker | None, typer.Option(help="Send curves there too.")] = None,
    cache: Cache = CACHE,
    results: Results = RESULTS,
    json: Json = False,
) -> None:
    """Train SocialFusion on tokens of a frozen encoder, and test it as the probes are tested.

    The tokens come from the cache: run `sdiag extract --token-block N` first. With an empty cache,
    the embedded pair is extracted for its own encoders. SIGTERM and Ctrl-C finish the step, save
    and stop; --resume goes on as if nothing had been.
    """
    from degradation.cache.schema import slug
    from socialfusion.defaults import default_settings
    from socialfusion.run import Machine
    from socialfusion.run import train_socialfusion as train

    roots = task_roots(task, data_root) if task else None
    kind, temperature = _mixing(mixing)
    _check_vlm(
        vlm,
        {
            "--language-model": language_model,
            "--connector-width": connector_width,
            "--heatmap-weight": heatmap_weight,
            "--attention": attention,
        },
        max_pixels=max_pixels,
    )
    _check_encoder_lr(encoder_lr, train_encoder=train_encoder)
    settings = default_settings(
        encoder,
        tuple(roots) if roots else None,
        language_model=vlm or language_model,
        vlm=vlm is not None,
        train_vision=train_vision,
        max_pixels=max_pixels,
        steps=steps,
        batch_size=batch_size,
        budget=budget.value,
        mixing=kind,
        temperature=temperature,
        accumulation=accumulation,
        seed=seed,
        learning_rate=lr,
        warmup=warmup,
        weight_decay=weight_decay,
        aggregator=aggregator,
        block=block,
        row_list=rows,
        connector_depth=connector_depth,
        connector_width=connector_width,
        lora_rank=lora_rank,
        lora_dropout=lora_dropout,
        heatmap_weight=heatmap_weight,
        box_masks=box_masks,
        attention=attention and attention.value,
        dtype=dtype and dtype.value,
        eval_every=eval_every,
        patience=patience,
        validation_rows=validation_rows,
        online=online,
        augment=augment,
        train_encoder=train_encoder,
        encoder_learning_rate=encoder_lr,
    )
    extract_embedded(encoder, cache, settings.tasks)
    what = slug(settings.tasks[0]) if len(settings.tasks) == 1 else "joint"
    record = train(
        run or f"{what}{'-vlm' if vlm else '-unfrozen' if train_encoder else ''}-seed{seed}",
        settings,
        cache=cache,
        results=results,
        machine=Machine(
            device=device,
            memory=None if memory is None else memory * 1e9,
            save_every=save_every,
            tracker=tracker and tracker.value,
        ),
        data_root=roots,
        resume=resume,
        generate=generate,
    )
    if leads():
        emit(record.model_dump(mode="json"), _table(record), as_json=json)


def _check_vlm(vlm: str | None, unused: dict[str, object], *, max_pixels: int | None) -> None:
    """Refuse options that have no effect with --vlm, or none without it."""
    from degradation.errors import ConfigError

    given = [name for name, value in unused.items() if value is not None]
    if vlm is not None and given:
        raise ConfigError(
            f"Expected no {' and no '.join(given)} with --vlm, which has none of these parts, or "
            "names them itself. Leave them out."
        )
    if vlm is None and max_pixels is not None:
        raise ConfigError(
            "Expected --vlm for --max-pixels: SocialFusion sees pictures as the cache holds them."
        )


def _check_encoder_lr(rate: float | None, *, train_encoder: bool) -> None:
    """Refuse a learning rate of an encoder that has none."""
    from degradation.errors import ConfigError

    if rate is not None and not train_encoder:
        raise ConfigError(
            "Expected --train-encoder for --encoder-lr: the encoder is frozen without it."
        )


def _mixing(text: str) -> tuple[str, float | None]:
    """Kind of mixing and its temperature, from `equal` or `temperature:T`."""
    from degradation.errors import ConfigError

    kind, colon, number = text.partition(":")
    try:
        if kind == "temperature" and colon:
            return kind, float(number)
        if text == "equal":
            return text, None
    except ValueError:
        pass
    raise ConfigError(f"Expected mixing equal or temperature:T, as temperature:2, found {text!r}.")


def _table(record: "FusionRecord") -> str:
    """The scores for people, in points."""
    import pandas as pd

    rows = [
        {
            "question": one.question,
            "metric": one.metric,
            "score [95 %]": f"{one.estimate.value:.1f} [{one.estimate.low:.1f}, "
            f"{one.estimate.high:.1f}]",
            "chance": "" if one.chance is None else f"{one.chance:.1f}",
            "rows": one.n,
        }
        for one in record.scores
    ]
    text = pd.DataFrame(rows).to_string(index=False)
    for one in record.generated:
        text += (
            f"\n{one.question}: {one.accuracy:.1f} % right in its own words, {one.scored:.1f} % by "
            f"score; {one.other:.1f} % were no answer."
        )
    rate = record.steps_run / record.seconds
    return f"{text}\n\n{record.steps_run} steps, {rate:.1f} a second; run {record.run}."
