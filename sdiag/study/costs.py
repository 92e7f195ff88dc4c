"""What a step will cost: pictures, bytes on disk, operations. And how fast this machine is.

Operations of a forward pass are counted by `EncoderFacts.flops`. A backward pass through trained
weights costs twice that, through frozen ones about once. Small parts (norms, heads, connectors)
are left out.
"""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import torch

from degradation.encoders.encoder import Encoder
from degradation.encoders.registry import load_encoder
from degradation.encoders.shipped import tiny_folder
from degradation.errors import SdiagError
from sdiag.study.encoders import EncoderFacts, StudyPair, encoder_facts
from sdiag.study.schema import Gcd
from sdiag.study.world import TaskRows, World
from socialfusion.records import FusionSettings

__all__ = [
    "Cost",
    "Rate",
    "conflict_cost",
    "extraction_cost",
    "measured_rate",
    "training_cost",
]

HALF = 2
"""Bytes of a stored number."""
TEXT = 32
"""Tokens of a prompt with its answer, roughly."""
TIMED = 1.0
"""Seconds that a calibration runs, at least one batch."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What is still to be done.

    Attributes:
        pictures: To be opened.
        bytes: To be written.
        flops: By the name of the encoder whose speed is measured for them.
        unknown: Why there is no number; empty if there is one.
    """

    pictures: int = 0
    bytes: int = 0
    flops: Mapping[str, float] = field(default_factory=dict)
    unknown: str = ""

    def seconds(self, rates: "Mapping[str, Rate]") -> float | None:
        """Time at these rates; None where nothing says how long it takes."""
        if not self.flops or any(rates[name].flops <= 0 for name in self.flops):
            return None
        return sum(count / rates[name].flops for name, count in self.flops.items())


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast this machine computes an encoder.

    Attributes:
        flops: Operations in a second.
        how: What was timed.
    """

    flops: float
    how: str


def extraction_cost(pair: StudyPair, rows: TaskRows) -> Cost:
    """Both sides of a pair on all splits of a task; reference features are left out."""
    size, stored = pair.choice.size, 0
    flops: dict[str, float] = {}
    for one in (pair.pre, pair.post):
        pooled = len(pair.choice.blocks or ()) * rows.regions
        tokens = len(pair.choice.token_blocks or ()) * rows.frames * one.tokens(size)
        stored += rows.rows * (pooled + tokens) * one.width * HALF
        flops[one.name] = flops.get(one.name, 0) + rows.pictures * one.flops(size)
    return Cost(rows.pictures, stored, flops)


def conflict_cost(pair: StudyPair, asked: Gcd, tasks: list[TaskRows]) -> Cost:
    """Forward and backward passes of every batch of every question, on both sides."""
    pictures = sum(one.questions * one.frames for one in tasks) * asked.batches * asked.batch_size
    passes = 3 * pictures * (2 if asked.swapped_labels else 1)
    flops: dict[str, float] = {}
    for one in (pair.pre, pair.post):
        flops[one.name] = flops.get(one.name, 0) + passes * one.flops(pair.choice.size)
    return Cost(pictures, 0, flops)


def training_cost(
    encoder: EncoderFacts,
    size: int | None,
    runs: list[FusionSettings],
    world: World,
) -> Cost:
    """Runs of SocialFusion that are still to be trained.

    Two operations for each parameter of the language model and token forward, and two backward
    through its frozen weights. A test row is one forward pass.
    """
    total = 0.0
    for settings in runs:
        weights = language_parameters(settings.language_model)
        if weights is None:
            return Cost(unknown=f"the size of {settings.language_model} is not known")
        tasks = [world.rows(name) for name in settings.tasks]
        length = encoder.tokens(size)
        tokens = [one.questions * (one.frames * length + TEXT) for one in tasks]
        share = 1.0 if settings.budget == "per-task" else 1 / sum(one.questions for one in tasks)
        seen = settings.steps * settings.batch_size * share * sum(tokens)
        tested = sum(
            list(one.counts.values())[-1] * own for one, own in zip(tasks, tokens, strict=True)
        )
        total += weights * (4 * seen + 2 * tested)
    return Cost(flops={encoder.name: total})


@cache
def language_parameters(name: str) -> int | None:
    """Parameters of a language model: of the one that ships, else as its name says, `-1B`."""
    if name == "tiny":
        place = tiny_folder() / "language-model" / "model.safetensors"
        return place.stat().st_size // 4
    found = re.search(r"(\d+(?:\.\d+)?)([BM])\b", name)
    return int(float(found[1]) * {"B": 1e9, "M": 1e6}[found[2]]) if found else None


def measured_rate(name: str, *, device: str, precision: str, weights: Path | None) -> Rate:
    """How fast this machine computes an encoder, from a few batches.

    Where its weights are not on this machine, from matrix products of its width: an upper bound,
    which a tower reaches half of or less.

    Args:
        name: Of the encoder.
        device: Where.
        precision: Arithmetic.
        weights: Folder in which published repositories are looked for first.
    """
    facts = encoder_facts(name, weights)
    dtype = getattr(torch, precision)
    try:
        encoder = load_encoder(name, device=device, weights=weights, offline=True)
    except SdiagError:
        return Rate(_product_rate(facts, device, dtype), "matrix products of its width")
    rate = _encoder_rate(encoder, facts, device, dtype)
    return Rate(rate, "a few batches of it")


def _encoder_rate(encoder: Encoder, facts: EncoderFacts, device: str, dtype: torch.dtype) -> float:
    """Operations a second in forward passes; a warm-up batch first."""
    last = [facts.blocks - 1]
    kind = torch.device(device).type
    batch = 1 if facts.flops(None) > 1e11 and kind == "cpu" else 16
    pixels = torch.zeros(batch, 3, facts.size, facts.size, dtype=torch.uint8, device=device)
    autocast = torch.autocast(kind, dtype, enabled=dtype != torch.float32)
    with torch.inference_mode(), autocast:
        rate = _repeated(lambda: encoder(pixels, last), device, TIMED)
    return rate * batch * facts.flops(None)


def _product_rate(facts: EncoderFacts, device: str, dtype: torch.dtype) -> float:
    """Operations a second in products of tokens with a feed-forward matrix."""
    left = torch.ones(facts.tokens(None), facts.width, device=device, dtype=dtype)
    right = torch.ones(facts.width, 4 * facts.width, device=device, dtype=dtype)
    rate = _repeated(lambda: torch.mm(left, right), device, TIMED / 4)
    return rate * 2.0 * left.numel() * 4 * facts.width


def _repeated(work: Callable[[], object], device: str, least: float) -> float:
    """How often a second something is done, after doing it once to warm up."""

    def wait() -> None:
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize(device)

    work()
    wait()
    started, done = time.perf_counter(), 0
    while not done or time.perf_counter() - started < least:
        work()
        wait()
        done += 1
    return done / (time.perf_counter() - started)
