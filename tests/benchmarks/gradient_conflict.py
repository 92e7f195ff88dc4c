"""Gradient conflict: do its intervals cover, how exact is the sketch, and what does a pass cost?

    python tests/benchmarks/gradient_conflict.py coverage           # the tables of docs/gradient-conflict.md
    python tests/benchmarks/gradient_conflict.py sketch             # sketched against exact products
    python tests/benchmarks/gradient_conflict.py time --tower tiny  # measure against bare backward passes
    python tests/benchmarks/gradient_conflict.py time --tower base
    python tests/benchmarks/gradient_conflict.py time --tower large --batch 4 --micro 2 --tasks 2

Times are of whole passes in turns, bare and measured, in one process; ratios are of the minima, of
wall time and, for machines that are busy with other things, of processor time.
"""  # noqa: E501

import argparse
import itertools
import resource
import time

import numpy as np
import torch
from scipy.stats import t as student

from degradation.encoders.tiny import read_tiny
from degradation.encoders.vit import Vit, VitConfig
from probes.conflict.estimates import estimate
from probes.conflict.leaves import ALL
from probes.conflict.measure import Objective, bytes_needed, measure
from probes.conflict.simulation import noisy_gradients, products_of
from probes.statistics.bootstrap import stream

TOWERS = {
    "base": VitConfig(size=224, patch=16, width=768, depth=12, heads=12, mlp=3072),
    "large": VitConfig(size=224, patch=14, width=1024, depth=24, heads=16, mlp=4096),
}
COSINES = (-0.5, 0.0, 0.5, 0.9)
SIGNALS = {"1, 1": (1.0, 1.0), "0.1, 0.1": (0.1, 0.1), "0.03, 0.03": (0.03, 0.03),
           "0.3, 0.03": (0.3, 0.03)}  # fmt: skip
BATCHES = (8, 16, 32)
NOISES = {"normal": {}, "normal, shared": {"shared": 0.8}, "heavy": {"heavy": True}}


def outcomes(cosine, signal, batches, noise, sims):
    """Of each simulation: below floor, covered, open, wrong word, raw covered."""
    found = []
    rng = stream(0, f"{cosine} {signal} {batches} {noise}")
    for _ in range(sims):
        gradients = noisy_gradients(cosine, signal, batches, rng=rng, **noise)
        pair = estimate(products_of(gradients), seed=0, draws=0).pairs[0]
        norms = np.linalg.norm(gradients, axis=2).prod(axis=0)
        each = (gradients[0] * gradients[1]).sum(axis=1) / norms
        half = student.ppf(0.975, batches - 1) * each.std(ddof=1) / np.sqrt(batches)
        raw = abs(each.mean() - cosine) <= half
        low, high = (pair.cosine.low, pair.cosine.high) if pair.cosine else (None, None)
        low, high = -np.inf if low is None else low, np.inf if high is None else high
        wrong = (pair.word == "conflict" and cosine >= 0) or (
            pair.word == "aligned" and cosine <= 0
        )
        opened = not np.isfinite([low, high]).all()
        found.append((pair.cosine is None, low <= cosine <= high, opened, wrong, raw))
    below, covered, opened, wrong, raw = np.array(found).T
    ok = ~below
    return (
        100 * below.mean(), 100 * covered[ok].mean(), 100 * opened[ok].mean(),
        100 * wrong.mean(), 100 * raw.mean(),
    )  # fmt: skip


def coverage(options) -> None:
    """Markdown tables over cosines, signals, batches and kinds of noise."""
    for label, noise in NOISES.items():
        print(f"\nNoise: {label}. Each cell: corrected / raw coverage (below floor, open), %\n")
        header = " | ".join(f"cos {cosine}" for cosine in COSINES)
        print(f"| Signal | Batches | {header} |\n| :--- | ---: |{' ---: |' * len(COSINES)}")
        most = 0.0
        for (name, signal), batches in itertools.product(SIGNALS.items(), BATCHES):
            cells = []
            for cosine in COSINES:
                below, covered, opened, wrong, raw = outcomes(
                    cosine, signal, batches, noise, options.sims
                )
                most = max(most, wrong)
                cells.append(f"{covered:.1f} / {raw:.1f} ({below:.0f}, {opened:.0f})")
            print(f"| {name} | {batches} | {' | '.join(cells)} |", flush=True)
        print(f"\nWrong word in at most {most:.1f} % of simulations of a cell.")


def tower_of(options):
    """A tower and its picture side."""
    if options.tower == "tiny":
        return read_tiny("pre").requires_grad_(True)
    vit = Vit(TOWERS[options.tower])
    return vit.initialise(generator=torch.Generator().manual_seed(0))


def objectives_of(vit, options):
    """Tasks with heads of their own on the mean of the last block's tokens."""
    generator = torch.Generator().manual_seed(1)
    config, last = vit.config, vit.config.depth - 1
    heads = torch.randn(options.tasks, config.width, 5, generator=generator) / config.width**0.5
    micro = options.micro or options.batch
    side = config.size

    def losses(task, m):
        rows = torch.Generator().manual_seed(1000 * task + m)
        for start in range(0, options.batch, micro):
            count = min(micro, options.batch - start)
            pixels = torch.randn(count, 3, side, side, generator=rows)
            labels = torch.randint(0, 5, (count,), generator=rows)
            logits = vit(pixels, [last])[last].patches.mean(dim=1) @ heads[task]
            yield torch.nn.functional.cross_entropy(logits, labels, reduction="sum") / options.batch

    return [
        Objective(f"task {task}", lambda m, task=task: losses(task, m))
        for task in range(options.tasks)
    ]


def bare(objectives, parameters, batches):
    """The passes alone: gradients are accumulated over micro-batches and dropped."""
    for m, objective in itertools.product(range(batches), objectives):
        for loss in objective.losses(m):
            loss.backward()
        for parameter in parameters.values():
            parameter.grad = None


def seconds(work):
    """Wall time and processor time."""
    started = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - started[0], time.process_time() - started[1]


def timed(options) -> None:
    """Bare backward passes and `measure`, exact and sketched, in turns."""
    vit = tower_of(options)
    parameters, objectives = dict(vit.named_parameters()), objectives_of(vit, options)
    count = sum(parameter.numel() for parameter in parameters.values())
    modes = {"exact": True, "sketch only": False}
    if options.mode:
        modes = {options.mode: modes[options.mode]}
    print(f"{options.tower}: {count:,} parameters, {options.tasks} tasks, {options.batches} "
          f"batches of {options.batch}, torch {torch.__version__}, "
          f"{torch.get_num_threads()} threads")  # fmt: skip
    for name, exact in modes.items():
        stated = bytes_needed(parameters, tasks=options.tasks, batches=options.batches, exact=exact)
        print(f"{name}: states {stated / 1e9:.2f} GB beside model and activations")
    bare(objectives, parameters, 1)
    times = {"bare": []} | {name: [] for name in modes}
    for _ in range(options.rounds):
        times["bare"].append(seconds(lambda: bare(objectives, parameters, options.batches)))
        for name, exact in modes.items():
            times[name].append(
                seconds(
                    lambda exact=exact: measure(
                        objectives, parameters, batches=options.batches, seed=0, exact=exact
                    )
                )
            )
    for name, rounds in times.items():
        wall, cpu = np.min(rounds, axis=0) / np.min(times["bare"], axis=0)
        print(
            f"{name:>12}: {', '.join(f'{s:.2f}' for s, _ in rounds)} s, ratio {wall:.3f}; "
            f"processor {', '.join(f'{s:.2f}' for _, s in rounds)} s, ratio {cpu:.3f}"
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"peak resident memory {peak / 1e9:.2f} GB")


def sketch_error(options) -> None:
    """Errors of sketched products, over the product of the lengths, by number of cells."""
    vit = tower_of(options)
    parameters, objectives = dict(vit.named_parameters()), objectives_of(vit, options)
    print(f"{options.tower}, {options.tasks} tasks, {options.batches} batches of {options.batch}")
    print(f"{'k':>8} {'cells':>8} {'rms error':>10} {'largest':>10} {'1/sqrt(cells)':>14} "
          f"{'cosine off by':>14}")  # fmt: skip
    for k in (4096, 16_384, 65_536, 262_144):
        exact = measure(objectives, parameters, batches=options.batches, k=k, seed=0)
        alone = measure(objectives, parameters, batches=options.batches, k=k, seed=0, exact=False)
        same = exact.same.sum(axis=0)
        length = np.sqrt(np.einsum("mii->mi", same))
        errors = (alone.same.sum(axis=0) - same) / (length[:, :, None] * length[:, None])
        cosines = [
            [pair.cosine.value for pair in estimate(each, seed=0, draws=0).pairs
             if pair.part == ALL and pair.cosine]
            for each in (exact, alone)
        ]  # fmt: skip
        off = np.nan
        if len(cosines[0]) == len(cosines[1]) > 0:
            off = np.abs(np.subtract(*cosines)).max()
        cells = sum(exact.cells)
        print(f"{k:8} {cells:8} {np.sqrt((errors**2).mean()):10.2e} {np.abs(errors).max():10.2e} "
              f"{cells**-0.5:14.2e} {off:14.2e}", flush=True)  # fmt: skip


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["coverage", "sketch", "time"])
    parser.add_argument("--sims", type=int, default=1000)
    parser.add_argument("--tower", choices=["tiny", *TOWERS], default="tiny")
    parser.add_argument("--tasks", type=int, default=5)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--micro", type=int, default=0, help="rows of a micro-batch; 0: the batch")
    parser.add_argument("--batches", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mode", choices=["exact", "sketch only"], help="measure only this one")
    options = parser.parse_args()
    {"coverage": coverage, "sketch": sketch_error, "time": timed}[options.what](options)


if __name__ == "__main__":
    main()
