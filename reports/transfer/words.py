"""Effects of training as text: questions, metrics, changes and what they come to."""

from collections.abc import Iterable, Sequence

from degradation.errors import ConfigError
from probes.metrics import GAZE_METRICS, resolve
from reports.formats import GLYPHS, estimate
from socialfusion.records import FusionSettings
from socialfusion.transfer.records import Effect, VariantCard

__all__ = [
    "FEWEST",
    "Key",
    "capital",
    "certain",
    "change_cell",
    "change_text",
    "declared",
    "key_of",
    "metric_cell",
    "metric_words",
    "model_words",
    "question_words",
    "seeds_words",
    "variant_words",
]

Key = tuple[str, str]
"""`task/question` and name of the metric."""
FEWEST = 3
"""Training seeds from which the interval holds what another seed would change."""
BUDGETS = {"per-task": "equal samples", "total": "equal steps"}


def key_of(effect: Effect) -> Key:
    """By what the same number is known in several comparisons."""
    return effect.question, effect.metric


def question_words(labels: Iterable[str]) -> dict[str, str]:
    """By `task/question`: the question, with its task where two tasks ask the same."""
    unique = list(dict.fromkeys(labels))
    asked = [label.partition("/")[2] for label in unique]
    return {
        label: f"{name} ({label.partition('/')[0]})" if asked.count(name) > 1 else name
        for label, name in zip(unique, asked, strict=True)
    }


def metric_words(name: str, classes: Sequence[str] = ()) -> str:
    """The metric as people read it; one that this version does not know keeps its name.

    Args:
        name: Of the metric.
        classes: Of the question, where they are known; a metric of a class needs them.
    """
    if name in GAZE_METRICS:
        return GAZE_METRICS[name].label
    try:
        return resolve(name, classes or ("no", "yes")).label
    except ConfigError:
        return name


def metric_cell(name: str, classes: Sequence[str] = ()) -> str:
    """The metric as a table shows it, with its direction where low is good."""
    low = name in GAZE_METRICS and not GAZE_METRICS[name].higher_is_better
    return metric_words(name, classes) + " (low is good)" * low


def declared(effects: Iterable[Effect]) -> list[Effect]:
    """The first metric of each question."""
    return [one for one in effects if one.declared]


def certain(effect: Effect) -> bool:
    """Whether the 95 % interval leaves 0 out."""
    return effect.change.low > 0 or effect.change.high < 0


def change_text(effect: Effect) -> str:
    """A change with its interval, and the mark of its verdict."""
    text = estimate(effect.change, delta=True)
    return f"{GLYPHS[effect.word]} {text}" if effect.word in GLYPHS else text


def change_cell(effect: Effect) -> str:
    """The same for a table: bold where the interval leaves 0 out."""
    text = change_text(effect)
    return f"**{text}**" if certain(effect) else text


def model_words(settings: FusionSettings) -> str:
    """What was trained, as the subject of a sentence in plain text."""
    if not settings.vlm:
        how = "encoder, trained along," if settings.train_encoder else "frozen encoder"
        return f"SocialFusion on the {how} {settings.encoder}"
    tower = "trained" if settings.train_vision else "frozen"
    return f"the VLM {settings.language_model} fine-tuned itself, its vision tower {tower},"


def capital(text: str) -> str:
    """The text with a large first letter; names in it stay as they are."""
    return text[:1].upper() + text[1:]


def variant_words(variant: VariantCard) -> str:
    """A variant for people: `equal steps`, `equal steps, rows clean`."""
    rows = f", rows {variant.row_list}" if variant.row_list else ""
    return f"{BUDGETS[variant.budget]}{rows}"


def seeds_words(seeds: Sequence[int]) -> str:
    """How many training seeds there were, and what that leaves unknown; in plain text."""
    n = len(seeds)
    if n >= FEWEST:
        return f"{n} training seeds."
    return (
        f"{n} training seed{'s' * (n > 1)}: the intervals are of test rows alone, and what another "
        "seed would change is unknown. So nothing is judged."
    )
