"""What a step will cost: pictures, bytes on disk, operations, and work in units that are timed.

Operations of a forward pass are counted by `EncoderFacts.flops`. A backward pass through trained
weights costs twice that, through frozen ones about once. Small parts (norms, heads, adapters) are
left out. How fast this machine does the work is found by `sdiag.study.clocks`; work of the stages
that read features is counted in `sdiag.study.analyses`.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from degradation.encoders.shipped import tiny_folder
from sdiag.study.encoders import EncoderFacts, StudyPair
from sdiag.study.schema import Gcd
from sdiag.study.world import TaskRows, World
from socialfusion.records import FusionSettings

__all__ = [
    "Clock",
    "Cost",
    "Rate",
    "conflict_cost",
    "extraction_cost",
    "language_folder",
    "training_cost",
]

HALF = 2
"""Bytes of a stored number."""
TEXT = 32
"""Tokens of a prompt with its answer, roughly."""
QWEN_TOWER = 675_000_000
"""Parameters of the vision tower of every Qwen2-VL; four of its tokens become one of the text."""
QWEN_TOKEN = 28 * 28
"""Pixels that become one token of the text."""


@dataclass(frozen=True, slots=True, order=True)
class Clock:
    """Something that is timed, in a unit of its own.

    Attributes:
        what: One of those that `sdiag.study.clocks` can time.
        of: Name of an encoder, a language model or a task; empty for all others.
    """

    what: str
    of: str = ""

    def __str__(self) -> str:
        """`encoder tiny:pre`, `class probe`."""
        return f"{self.what} {self.of}".rstrip()


@dataclass(frozen=True, slots=True)
class Cost:
    """What is still to be done.

    Attributes:
        pictures: To be opened.
        bytes: To be written.
        flops: Operations of encoders and language models.
        work: By what is timed for it, in its unit.
        least: Whether more may come on top, so that the time is a lower bound.
        unknown: Why there is no number; empty if there is one.
    """

    pictures: int = 0
    bytes: int = 0
    flops: float = 0.0
    work: Mapping[Clock, float] = field(default_factory=dict)
    least: bool = False
    unknown: str = ""

    def seconds(self, rates: "Mapping[Clock, Rate]") -> float | None:
        """Time at these rates; None where nothing says how long it takes."""
        if not self.work or any(rates[clock].per_second <= 0 for clock in self.work):
            return None
        return sum(count / rates[clock].per_second for clock, count in self.work.items())

    def bounded(self, rates: "Mapping[Clock, Rate]") -> bool:
        """Whether these seconds are a lower bound."""
        return self.least or any(rates[clock].bound for clock in self.work)


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast this machine is.

    Attributes:
        per_second: Units of a clock in a second.
        how: What was timed.
        bound: Whether it is faster than what it stands for, so that times are too short.
    """

    per_second: float
    how: str
    bound: bool = False


def extraction_cost(pair: StudyPair, task: str, rows: TaskRows) -> Cost:
    """Both sides of a pair on all splits of a task; reference features are left out."""
    size, stored = pair.choice.size, 0
    passes: Counter[Clock] = Counter()
    for one in (pair.pre, pair.post):
        pooled = len(pair.choice.blocks or ()) * rows.regions
        tokens = len(pair.choice.token_blocks or ()) * rows.frames * one.tokens(size)
        stored += rows.rows * (pooled + tokens) * one.width * HALF
        passes[Clock("encoder", one.name)] += rows.pictures * one.flops(size)
    opened = Counter({Clock("opening", task): rows.pictures})
    return Cost(rows.pictures, stored, sum(passes.values()), passes + opened)


def conflict_cost(pair: StudyPair, asked: Gcd, tasks: Mapping[str, TaskRows]) -> Cost:
    """Forward and backward passes of every batch of every question, on both sides."""
    work: Counter[Clock] = Counter()
    for name, one in tasks.items():
        shown = one.questions * one.frames * asked.batches * asked.batch_size
        work[Clock("opening", name)] += 2 * shown
    pictures = sum(work.values()) // 2
    passes = 3 * pictures * (2 if asked.swapped_labels else 1)
    flops = 0.0
    for one in (pair.pre, pair.post):
        work[Clock("encoder", one.name)] += passes * one.flops(pair.choice.size)
        flops += passes * one.flops(pair.choice.size)
    return Cost(pictures, 0, flops, work)


def training_cost(
    encoder: EncoderFacts, size: int | None, runs: list[FusionSettings], world: World
) -> Cost:
    """Runs of SocialFusion, or of a Qwen2-VL, that are still to be trained.

    Two operations for each parameter of the language model and token forward, and two backward
    through its frozen weights; six for each of the connector. A test row is one forward pass.
    Where tokens are computed from pictures, the encoder's forward pass of each comes on top, and
    its backward pass where it is trained.
    """
    work: Counter[Clock] = Counter()
    pictures, flops = 0, 0.0
    for settings in runs:
        weights = language_parameters(settings.language_model)
        if weights is None:
            return Cost(unknown=f"the size of {settings.language_model} is not known")
        tasks = {name: world.rows(name) for name in settings.tasks}
        questions = sum(one.questions for one in tasks.values())
        share = 1.0 if settings.budget == "per-task" else 1 / questions
        sight = settings.max_pixels // QWEN_TOKEN if settings.vlm else encoder.tokens(size)
        wide = settings.connector_width
        connector = 0 if settings.vlm else wide * (encoder.width + settings.connector_depth * wide)
        language = tower = 0.0
        for name, one in tasks.items():
            seen = settings.steps * settings.batch_size * share * one.questions
            tested = list(one.counts.values())[-1] * one.questions
            length, shown = one.frames * sight + TEXT, (seen + tested) * one.frames
            language += weights * length * (4 * seen + 2 * tested)
            language += connector * one.frames * sight * (6 * seen + 2 * tested)
            once = 2.0 * QWEN_TOWER * 4 * sight if settings.vlm else encoder.flops(size)
            trained = settings.train_vision if settings.vlm else settings.train_encoder
            if settings.vlm or settings.from_pictures:
                tower += one.frames * once * ((3 if trained else 1) * seen + tested)
                pictures += int(shown)
                work[Clock("opening", name)] += shown
        at_hand = not settings.vlm and language_folder(settings.language_model) is not None
        reader = Clock("language model", settings.language_model)
        work[reader if at_hand else Clock("encoder", encoder.name)] += language
        work[Clock("encoder", encoder.name)] += tower
        flops += language + tower
    return Cost(pictures, 0, flops, +work)


def language_folder(name: str) -> Path | None:
    """Where a language model lies if it is on this machine as a folder, or ships; else None."""
    if name == "tiny":
        return tiny_folder() / "language-model"
    return Path(name) if (Path(name) / "config.json").exists() else None


@cache
def language_parameters(name: str) -> int | None:
    """Parameters of a language model: as its files hold them, else as its name says, `-1B`."""
    folder = language_folder(name)
    if folder is not None and (files := list(folder.glob("*.safetensors"))):
        return sum(_entries(one) for one in files)
    found = re.search(r"(\d+(?:\.\d+)?)([BM])\b", name)
    return int(float(found[1]) * {"B": 1e9, "M": 1e6}[found[2]]) if found else None


def _entries(path: Path) -> int:
    """Numbers in a safetensors file."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118
    total = 0
    for shape in shapes:
        count = 1
        for side in shape:
            count *= side
        total += count
    return total
