"""How fast this machine is: short runs of what stages spend their time with, on made-up numbers.

Every clock is timed once, for a fraction of a second. Features are Gaussian with
a spectrum and classes such that the solvers take about as many steps as on those of encoders; a
probe of other features takes up to twice as long, or half.
"""

import io
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
import torch

from degradation.encoders.encoder import Encoder
from degradation.encoders.registry import load_encoder
from degradation.errors import SdiagError
from probes.diagnosis.networks import BATCH, FEWEST, ROUNDS, Network, attentive, mlp, train
from probes.drift.block import Settings, measure_block
from probes.gaze import cell_targets, decode, displacement_basis
from probes.gaze_metrics import gaze_outcome
from probes.metrics import ClassOutcome, resolve
from probes.problems import ClassProblem, Features, GazeProblem
from probes.selection import STRENGTHS
from probes.slices.deltas import compare
from probes.statistics.bootstrap import resample
from sdiag.study.analyses import class_units, drift_units, gaze_units, network_units
from sdiag.study.costs import TEXT, Clock, Rate
from sdiag.study.encoders import EncoderFacts, encoder_facts
from sdiag.study.world import World
from socialfusion.language import load_language

__all__ = ["measured_rate"]

TIMED = 0.25
"""Seconds that a clock runs for, at least once after it was warmed up."""
MADE_UP = "made-up features"
WIDTH, CLASSES, CELLS = 256, 6, 144
"""Of made-up features and questions. Units grow with them, and speed hardly depends on them."""


def measured_rate(clock: Clock, world: World) -> Rate:
    """How fast this machine does something, from a short run of it.

    Args:
        clock: What is timed.
        world: Says where, and in which arithmetic.
    """
    return CLOCKS[clock.what](clock, world)


def per_second(work: Callable[[], object], device: str = "cpu") -> float:
    """How often a second something is done, by the median after doing it once to warm up.

    Args:
        work: Is done again until the time is over, at least once.
        device: Is waited for.
    """

    def wait() -> None:
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize(device)

    work()
    wait()
    marks = [now()]
    while len(marks) < 2 or marks[-1] - marks[0] < TIMED:
        work()
        wait()
        marks.append(now())
    return 1 / max(float(np.median(np.diff(marks))), 1e-9)


def now() -> float:
    """Seconds; one place, so that a benchmark can count those of the processor."""
    return time.perf_counter()


# ------------------------------------------------------------------ pictures and models


def _opening(clock: Clock, world: World) -> Rate:
    """Pictures of a task, by as many threads as extraction has."""
    task = world.task(clock.of)
    rows = task.read(task.splits[-1])
    picked = np.random.default_rng(0).permutation(rows.pictures.ravel())[:16]

    def opened() -> None:
        with ThreadPoolExecutor(world.workers) as pool:
            list(pool.map(lambda one: np.asarray(task.open(one)), picked))

    return Rate(len(picked) * per_second(opened), f"{len(picked)} of its pictures")


def _encoder(clock: Clock, world: World) -> Rate:
    """Forward passes; products of its width where its weights are not on this machine."""
    device, dtype = world.study.device, getattr(torch, world.study.extract.precision)
    facts = encoder_facts(clock.of, world.weights)
    try:
        encoder = load_encoder(clock.of, device=device, weights=world.weights, offline=True)
    except SdiagError:
        left = torch.ones(facts.tokens(None), facts.width, device=device, dtype=dtype)
        right = torch.ones(facts.width, 4 * facts.width, device=device, dtype=dtype)
        flops = 2.0 * left.numel() * 4 * facts.width
        rate = flops * per_second(lambda: torch.mm(left, right), device)
        return Rate(rate, "products of its width, an upper bound", bound=True)
    return Rate(_forward_rate(encoder, facts, device, dtype), "a few batches of it")


def _forward_rate(encoder: Encoder, facts: EncoderFacts, device: str, dtype: torch.dtype) -> float:
    """Operations a second in forward passes."""
    last, kind = [facts.blocks - 1], torch.device(device).type
    batch = 1 if facts.flops(None) > 1e11 and kind == "cpu" else 16
    pixels = torch.zeros(batch, 3, facts.size, facts.size, dtype=torch.uint8, device=device)
    autocast = torch.autocast(kind, dtype, enabled=dtype != torch.float32)
    with torch.inference_mode(), autocast:
        rate = per_second(lambda: encoder(pixels, last), device)
    return rate * batch * facts.flops(None)


def _language(clock: Clock, world: World) -> Rate:
    """Forward and backward passes of a language model, to the vectors it is shown."""
    device, length = world.study.device, 8 * TEXT
    model = load_language(clock.of).model.to(device)
    weights = sum(one.numel() for one in model.parameters())
    batch = 8 if weights < 1e8 else 1
    shown = torch.zeros(batch, length, model.config.hidden_size, device=device, requires_grad=True)

    def step() -> None:
        logits = model(inputs_embeds=shown, use_cache=False, logits_to_keep=4).logits
        torch.autograd.grad(logits.sum(), shown)

    return Rate(4.0 * weights * batch * length * per_second(step, device), "a few steps of it")


# ------------------------------------------------------------------ probes


def _made(rows: int, width: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Features with classes in them: a long spectrum, turned, the classes along its head."""
    rng = np.random.default_rng(0)
    labels = np.arange(rows) % classes
    spectrum = np.arange(1, width + 1.0) ** -0.7
    means = rng.normal(size=(classes, width)) * spectrum * (6 / width) ** 0.5
    x = means[labels] + rng.normal(size=(rows, width)) * spectrum
    turned = x @ (rng.normal(size=(width, width)) / width**0.5)
    return turned.astype(np.float32), labels


def _class_probe(clock: Clock, world: World) -> Rate:
    """Choosing a strength for classes on one held-out part."""
    rows = 2000
    x, labels = _made(rows, WIDTH, CLASSES)
    problem = ClassProblem(Features(x, world.study.device), labels, CLASSES)
    every = np.arange(rows)
    trials = [(every[: 5 * rows // 6], every[5 * rows // 6 :])]
    problem.features.prepared(every)
    rate = per_second(lambda: problem.held_out(every, trials, STRENGTHS), world.study.device)
    return Rate(rate * class_units(rows, WIDTH, CLASSES, len(STRENGTHS)), MADE_UP)


def _heads(rows: int, cells: int) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """Head boxes, and the points looked at, on a square grid."""
    rng, side = np.random.default_rng(0), max(2, round(cells**0.5))
    corner = rng.uniform(0, 0.8, (rows, 2))
    heads = np.concatenate([corner, corner + 0.2], axis=1).astype(np.float32)
    return heads, rng.uniform(0, 1, (rows, 1, 2)).astype(np.float32), (side, side)


def _gaze_probe(clock: Clock, world: World) -> Rate:
    """Choosing a strength for gaze on one held-out part."""
    rows, cells = 400, CELLS
    x, _ = _made(rows, WIDTH, CLASSES)
    heads, points, grid = _heads(rows, cells)
    towards = x[:, :2] / x[:, :2].std(axis=0)
    points[:, 0] = (heads[:, :2] + 0.1 + 0.03 * towards).clip(0, 1)
    problem = GazeProblem(
        Features(x, world.study.device), displacement_basis(heads, grid), cell_targets(points, grid)
    )
    every = np.arange(rows)
    trials = [(every[: 5 * rows // 6], every[5 * rows // 6 :])]
    rate = per_second(lambda: problem.held_out(every, trials, STRENGTHS), world.study.device)
    return Rate(rate * gaze_units(rows, WIDTH, cells, len(STRENGTHS)), MADE_UP)


def _gaze_heat(clock: Clock, world: World) -> Rate:
    """From heatmaps to points and errors, which are measured at the size of the task's pictures."""
    task, cells = world.task(clock.of), CELLS
    sizes = task.read(task.splits[-1]).sizes[:100]
    rows = len(sizes)
    _, points, grid = _heads(rows, cells)
    heat = np.random.default_rng(0).dirichlet(np.ones(grid[0] * grid[1]), rows).astype(np.float32)

    def read() -> None:
        gaze_outcome(heat, grid, decode(heat, grid), points, sizes)

    return Rate(rows * cells * per_second(read), "made-up heatmaps of its pictures")


def _tally(clock: Clock, world: World) -> Rate:
    """Accuracy of two sides, compared as a slice is."""
    rows, rng = 1000, np.random.default_rng(0)
    labels, metric = np.arange(rows) % CLASSES, resolve("accuracy", tuple(map(str, range(CLASSES))))
    sides = [rng.dirichlet(np.ones(CLASSES), rows).astype(np.float32) for _ in range(2)]
    pre, post = (ClassOutcome(labels, one) for one in sides)

    def compared() -> None:
        compare(metric, pre, post, np.arange(rows), rng=rng)

    return Rate(rows * per_second(compared), "made-up scores")


def _ranking(clock: Clock, world: World) -> Rate:
    """Mean average precision in draws of rows."""
    rows, draws = 500, 50
    rng = np.random.default_rng(0)
    labels = np.arange(rows) % CLASSES
    scores = rng.dirichlet(np.ones(CLASSES), rows).astype(np.float32)
    metric = resolve("mean_average_precision", tuple(map(str, range(CLASSES))))
    outcomes = {0: (metric, ClassOutcome(labels, scores))}

    def drawn() -> None:
        resample(np.arange(rows), outcomes, draws=draws, rng=np.random.default_rng(0))

    return Rate(rows * draws * CLASSES * per_second(drawn), "made-up scores")


# ------------------------------------------------------------------ networks and matrices


def _network(clock: Clock, world: World) -> Rate:
    x, labels = _made(256, WIDTH, CLASSES)
    return _steps(mlp(torch.from_numpy(x), CLASSES), labels, network_units(1, WIDTH))


def _attention(clock: Clock, world: World) -> Rate:
    rows, tokens = 8, 64
    maps, labels = torch.randn(rows, tokens, WIDTH), np.arange(rows) % CLASSES
    shares = torch.full((rows, 1, tokens), 1 / tokens)
    zero, one = torch.zeros(1, WIDTH), torch.ones(1, WIDTH)
    network = attentive(maps, shares, zero, one, CLASSES)
    return _steps(network, labels, tokens * WIDTH)


def _steps(network: Network, labels: np.ndarray, each: float) -> Rate:
    """Rows that a network is shown in a second, times the units of each, in two lanes."""
    rows, lanes = np.arange(len(labels)), [1.0, 10.0]
    shares = torch.nn.functional.one_hot(torch.from_numpy(labels), CLASSES).float()
    offset, weights = torch.zeros(len(rows), CLASSES), torch.ones(len(rows))

    def trained() -> None:
        rng = np.random.default_rng(0)
        list(islice(train(network, offset, shares, weights, rows, lanes, rng=rng, rounds=1), 1))

    shown = FEWEST // ROUNDS * len(lanes) * min(BATCH, len(rows)) * each
    return Rate(shown * per_second(trained), MADE_UP)


def _matrices(clock: Clock, world: World) -> Rate:
    """The measures of drift at one block."""
    rows, width, settings = 400, 128, Settings(shuffles=5)
    x, labels = _made(rows, width, CLASSES)
    y = x + np.random.default_rng(1).normal(size=x.shape).astype(np.float32) * x.std() / 2
    every = np.arange(rows)

    def measured() -> None:
        measure_block(0, x, y, {"": labels}, every, every % 20, every, settings)

    return Rate(drift_units(rows, rows, width, 5) * per_second(measured), f"drift of {MADE_UP}")


def _drawing(clock: Clock, world: World) -> Rate:
    """Figures of two panels, drawn and saved."""
    from matplotlib.figure import Figure

    def drawn() -> None:
        figure = Figure(figsize=(8, 4))
        for axes in figure.subplots(1, 2):
            axes.errorbar(range(20), range(20), yerr=1)
            axes.set(title="figure", xlabel="x", ylabel="y")
        figure.savefig(io.BytesIO(), format="png")

    return Rate(per_second(drawn), "a figure of two panels")


CLOCKS: dict[str, Callable[[Clock, World], Rate]] = {
    "opening": _opening,
    "encoder": _encoder,
    "language model": _language,
    "class probe": _class_probe,
    "gaze probe": _gaze_probe,
    "gaze heat": _gaze_heat,
    "tally": _tally,
    "ranking": _ranking,
    "network": _network,
    "attention": _attention,
    "matrices": _matrices,
    "drawing": _drawing,
}
