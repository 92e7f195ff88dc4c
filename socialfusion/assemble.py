"""From settings and a cache to a model and its questions."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from degradation.errors import ConfigError
from socialfusion.checkpoint import RunState
from socialfusion.config import SocialFusionConfig, check_encoder
from socialfusion.language import load_tokenizer
from socialfusion.learner import Learner
from socialfusion.model import SocialFusion, build
from socialfusion.online import Online
from socialfusion.pixels import PixelSamples, with_pixels
from socialfusion.questions import questions_of
from socialfusion.records import FusionEncoder, FusionSettings
from socialfusion.samples import QuestionSamples, TaskSamples, question_samples
from socialfusion.saving import load
from socialfusion.sources import token_scale
from socialfusion.unfrozen import Unfrozen
from socialfusion.vlm.assemble import built_vlm, check_vlm, tower_card
from socialfusion.vlm.model import Vlm
from socialfusion.vlm.saving import load_vlm

__all__ = ["built", "check_settings", "encoder_card", "gathered", "resumed", "unfrozen"]


def check_settings(settings: FusionSettings) -> None:
    """Refuse settings that are out of range or contradict each other.

    Raises:
        ConfigError: Naming the setting.
    """
    least = {
        "steps": 1,
        "batch_size": 1,
        "accumulation": 1,
        "eval_every": 0,
        "patience": 0,
        "validation_rows": 1,
        "weight_decay": 0,
        "warmup": 0,
    }
    for name, low in least.items():
        if getattr(settings, name) < low:
            raise ConfigError(
                f"Expected {name} of at least {low}, found {getattr(settings, name)}."
            )
    for name in ("learning_rate", "temperature", "clip"):
        if not 0 < getattr(settings, name) < float("inf"):
            raise ConfigError(f"Expected {name} above 0, found {getattr(settings, name)}.")
    if settings.warmup >= 1:
        raise ConfigError(
            f"Expected a share of the steps below 1 as warmup, found {settings.warmup}."
        )
    if settings.patience and not settings.eval_every:
        raise ConfigError(
            "Expected looks at the validation rows for --patience, found none. Give --eval-every."
        )
    if settings.augment and not settings.from_pictures:
        raise ConfigError(
            "Expected --online for --augment: what is cached was seen without changes."
        )
    if settings.train_encoder and settings.vlm:
        raise ConfigError(
            "Expected no --train-encoder with --vlm, which does not use the encoder. Give "
            "--train-vision to train its own tower."
        )
    rate = settings.encoder_learning_rate
    if rate is not None and not 0 < rate < float("inf"):
        raise ConfigError(f"Expected encoder_learning_rate above 0, found {rate}.")
    if settings.aggregator and settings.mixing != "equal":
        raise ConfigError(
            "Expected equal mixing for an aggregator, which weighs one gradient of each question, "
            f"found {settings.mixing}. Give --mixing equal."
        )
    check_vlm(settings)


def gathered(tasks: Sequence[TaskSamples], settings: FusionSettings) -> dict[str, QuestionSamples]:
    """All questions of some tasks with their rows, by label, in the order of the tasks.

    Raises:
        DataError: A question has no rows to train on, or too few to test.
        ConfigError: Its prompt is not as it should be.
        WeightsError: The tokenizer of the language model cannot be had.
    """
    tokenizer = load_tokenizer(settings.language_model)
    return {
        question.label: question_samples(task, question)
        for task in tasks
        for question in questions_of(task.table.spec, task.frames, tokenizer=tokenizer)
    }


def encoder_card(task: TaskSamples, model: Learner) -> FusionEncoder:
    """The encoder behind the tokens: the cached one, or the vision tower of a Qwen2-VL."""
    if isinstance(model, Vlm):
        return tower_card(model)
    info = task.features.encoder
    return FusionEncoder(
        name=info.name,
        digest=info.digest,
        pair=task.entry.pair,
        side=task.side,
        block=task.block,
        grid=task.grid,
        width=info.width,
        protocol=task.entry.protocol,
    )


def built(questions: dict[str, QuestionSamples], settings: FusionSettings) -> Learner:
    """A fresh model for these questions.

    Raises:
        ConfigError: A question cannot be asked of the language model.
        WeightsError: The language model cannot be had.
    """
    if settings.vlm:
        return built_vlm(questions, settings)
    tasks = {one.task.name: one.task for one in questions.values()}
    first = next(iter(tasks.values()))
    info = first.features.encoder
    config = SocialFusionConfig(
        encoder=info.name,
        encoder_digest=info.digest,
        block=first.block,
        grid=list(first.grid),
        token_width=info.width,
        token_scale=token_scale(list(tasks.values())),
        questions=[one.question.as_json() for one in questions.values()],
        language_model=settings.language_model,
        language_model_dtype=settings.dtype,
        connector_depth=settings.connector_depth,
        connector_width=settings.connector_width,
        lora_rank=settings.lora_rank,
        lora_dropout=settings.lora_dropout,
        heatmap_weight=settings.heatmap_weight,
        box_masks=settings.box_masks,
        attention=settings.attention,
    )
    return build(config, seed=settings.seed)


def resumed(folder: Path, state: RunState, questions: dict[str, QuestionSamples]) -> Learner:
    """The model of a checkpoint, after checking that encoder and rows are still the same.

    An encoder that is trained along is loaded by `unfrozen`.

    Args:
        folder: Of the checkpoint.
        state: Read from it.
        questions: As they are now.

    Raises:
        ConfigError: The rows of a question are others now.
        PairingError: The tokens come from another encoder.
        WeightsError: The checkpoint is damaged, or the language model is another.
    """
    if state.settings.vlm:
        model = load_vlm(folder)
    else:
        model = load(folder, with_encoder=state.settings.train_encoder)
        check_encoder(model.config, next(iter(questions.values())).task.features.encoder)
    for label, one in questions.items():
        if state.rows.get(label) != one.rows_digest():
            raise ConfigError(
                f"Expected the rows of {label} that {folder} was trained on, but they are others "
                "now: the cache was extracted anew, or row lists changed. Give another --run."
            )
    return model


def unfrozen(
    model: SocialFusion,
    questions: Mapping[str, QuestionSamples],
    online: Online,
    checkpoint: Path | None,
) -> tuple[Unfrozen, dict[str, PixelSamples]]:
    """The model with its encoder to be trained along, and questions put as pictures.

    Args:
        model: Fresh, or that of the checkpoint.
        questions: By label.
        online: Has the encoder, as it was before training.
        checkpoint: Folder with the encoder's weights to go on from, if any.

    Raises:
        ConfigError: The encoder has no weights to train.
        WeightsError: The checkpoint is damaged.
    """
    whole = Unfrozen(model, online.encoder)
    if checkpoint is not None:
        whole.load_tower(checkpoint)
    return whole, with_pixels(questions)
