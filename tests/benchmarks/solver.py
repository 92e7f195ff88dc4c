"""The probe solver against scikit-learn and against AdamW sweeps, side by side in one run.

    python tests/benchmarks/solver.py sklearn            # ten strengths, n=20,000 d=1,024 c=8
    python tests/benchmarks/solver.py sklearn --power 2  # the same for another spectrum
    python tests/benchmarks/solver.py adamw              # a sweep of learning rates and decays
    python tests/benchmarks/solver.py cache              # blocks x folds x strengths
    python tests/benchmarks/solver.py disk               # memory of features that stay on disk

Features have a power-law spectrum (variance of the k-th direction k^-power), as those of trained
encoders do; a solver's time depends on it, so it is printed. Labels follow a noisy linear teacher.
scikit-learn gets z-scored float64, its own default tolerance, and as many steps as it asks for.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from probes.problems import ClassProblem, Features
from probes.selection import STRENGTHS
from probes.solver.logistic import fit_logistic
from probes.solver.prepared import prepare


def planted(options, *, seed=0):
    """Features (n, d) float32 and labels (n,)."""
    rng = np.random.default_rng(seed)
    n, d, c = options.rows, options.width, options.classes
    turn = np.linalg.qr(rng.normal(size=(d, d)))[0]
    deviation = np.arange(1, d + 1) ** (-options.power / 2)
    z = rng.normal(size=(n, d))
    teacher = rng.normal(size=(d, c)) * np.arange(1, d + 1)[:, None] ** -0.25
    teacher /= np.linalg.norm(teacher, axis=0)
    labels = (3 * z @ teacher + options.noise * rng.gumbel(size=(n, c))).argmax(axis=1)
    return ((z * deviation) @ turn.T).astype(np.float32), labels


def objective(z, labels, strength, weights, bias):
    """Mean log-loss + strength / 2 ||W||^2 in float64, by direct sums."""
    logits = z @ weights.T + bias
    logits -= logits.max(axis=1, keepdims=True)
    own = logits[np.arange(len(z)), labels] - np.log(np.exp(logits).sum(axis=1))
    return -own.mean() + strength / 2 * (weights**2).sum()


def timed(work):
    """Seconds and result."""
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def ours(x, labels, options):
    """Z-scores, eigenbasis and ten fits."""
    prepared = prepare(x, device=options.device)
    return fit_logistic(prepared, labels, STRENGTHS, n_classes=options.classes)


def against_sklearn(options) -> None:
    """Ten strengths; the ratio of times, and who has the lower objective."""
    x, labels = planted(options)
    z = x.astype(np.float64)
    z = (z - z.mean(axis=0)) / z.std(axis=0)
    ours(x[:2000], labels[:2000], options)  # first use of the libraries
    rounds = [timed(lambda: ours(x, labels, options)) for _ in range(options.rounds)]
    seconds, path = min(rounds, key=lambda pair: pair[0])
    print(f"sdiag: {seconds:.2f} s for {len(STRENGTHS)} strengths (rounds "
          f"{', '.join(f'{s:.2f}' for s, _ in rounds)})")  # fmt: skip
    total, gaps = 0.0, path.certificate.gap
    print(f"{'strength':>9} {'sklearn s':>9} {'steps':>5} {'objective':>10} {'sdiag':>10} "
          f"{'sdiag - sklearn':>15} {'our gap':>10} {'steps':>5}")  # fmt: skip
    for i, strength in enumerate(STRENGTHS):
        model = LogisticRegression(C=1 / (len(z) * strength), max_iter=10_000)
        spent, _ = timed(lambda model=model: model.fit(z, labels))
        total += spent
        theirs = objective(z, labels, strength, model.coef_, model.intercept_)
        own = objective(z, labels, strength, path.coefficients()[i], path.bias[i].cpu().numpy())
        steps = path.certificate.iterations[i]
        print(f"{strength:9.1e} {spent:9.2f} {model.n_iter_[0]:5} {theirs:10.6f} {own:10.6f} "
              f"{own - theirs:15.1e} {gaps[i]:10.1e} {steps:5}")  # fmt: skip
    print(f"scikit-learn {total:.1f} s, sdiag {seconds:.2f} s: ratio {total / seconds:.0f}")


def against_adamw(options) -> None:
    """Linear heads trained by AdamW, all at once, over a grid of rates and decays."""
    x, labels = planted(options)
    seconds, path = timed(lambda: ours(x, labels, options))
    z = path.loss.prepared.rows
    target = torch.from_numpy(labels)
    rates, decays = np.logspace(-4, -1, 13), (0.0, 1e-4, 1e-2, 1.0)
    grid = [(rate, decay) for rate in rates for decay in decays]
    generator = torch.Generator().manual_seed(0)
    weights = torch.zeros(len(grid), options.classes, options.width)
    bias = torch.zeros(len(grid), options.classes, 1)
    moments = [torch.zeros_like(part) for part in (weights, bias, weights, bias)]
    rate = torch.tensor([r for r, _ in grid], dtype=torch.float32)[:, None, None]
    decay = torch.tensor([w for _, w in grid], dtype=torch.float32)[:, None, None]
    started, step = time.perf_counter(), 0
    for _ in range(options.epochs):
        for rows in torch.randperm(len(z), generator=generator).split(1024):
            step += 1
            batch, own = z[rows], torch.nn.functional.one_hot(target[rows], options.classes)
            logits = (weights.view(-1, options.width) @ batch.T).view(
                len(grid), options.classes, -1
            )
            p = (logits + bias).softmax(1) - own.T
            slopes = (
                (p.reshape(-1, len(rows)) @ batch).view_as(weights) / len(rows),
                p.mean(2, keepdim=True),
            )
            for part, slope, first, second in zip(
                (weights, bias), slopes, moments[:2], moments[2:], strict=True
            ):
                first.mul_(0.9).add_(slope, alpha=0.1)
                second.mul_(0.999).addcmul_(slope, slope, value=0.001)
                unbiased = (second / (1 - 0.999**step)).sqrt_().add_(1e-8)
                part.mul_(1 - rate * decay * (part is weights))
                part.sub_(rate * (first / (1 - 0.9**step)) / unbiased)
    spent = time.perf_counter() - started
    wide, losses = z.double().numpy(), []
    for head in range(len(grid)):
        own = objective(wide, labels, 0.0, weights[head].double().numpy(), bias[head, :, 0].numpy())
        losses.append(own)
    best = int(np.argmin(losses))
    weakest = objective(wide, labels, 0.0, path.coefficients()[0], path.bias[0].numpy())
    print(f"AdamW: {len(grid)} heads x {options.epochs} epochs in {spent:.1f} s; the best train "
          f"log-loss is {losses[best]:.4f} (rate {grid[best][0]:.1e}, decay {grid[best][1]:.0e}), "
          f"over rates it runs to {np.median(losses):.4f} in the median")  # fmt: skip
    print(f"sdiag: {len(STRENGTHS)} strengths in {seconds:.2f} s, the weakest at {weakest:.4f}, "
          f"each certified; ratio {spent / seconds:.0f}")  # fmt: skip


def whole_cache(options) -> None:
    """Every block x fold x strength of a cache: tuning by five folds, refit, predictions."""
    started, spent = time.perf_counter(), []
    for block in range(options.blocks):
        x, labels = planted(options, seed=block)
        rows, test = np.arange(len(x)), np.arange(len(x))[: len(x) // 10]
        fold = np.random.default_rng(block).integers(0, 5, len(x))
        trials = [(rows[fold != k], rows[fold == k]) for k in range(5)]

        def work(x=x, labels=labels, rows=rows, trials=trials, test=test):
            problem = ClassProblem(Features(x, options.device), labels, options.classes)
            losses = problem.held_out(rows, trials, STRENGTHS)
            best = STRENGTHS[int(losses.argmin())]
            problem.fit(rows, [best]).scores(test)
            return best

        seconds, best = timed(work)
        spent.append(seconds)
        print(f"block {block}: {seconds:.1f} s, strength {best:.1e}", flush=True)
    print(f"{options.blocks} blocks x 5 folds x {len(STRENGTHS)} strengths, and a refit of each: "
          f"{sum(spent):.0f} s of solving, {time.perf_counter() - started:.0f} s with making "
          "the data")  # fmt: skip


def on_disk(options) -> None:
    """Features in an HDF5 file: peak memory of a fit that never holds them, and its time."""
    with tempfile.TemporaryDirectory() as folder, h5py.File(Path(folder) / "x.h5", "w") as file:
        made = file.create_dataset(
            "x", (options.rows, options.width), "f2", chunks=(256, options.width)
        )
        labels = np.empty(options.rows, np.int64)
        teacher = np.random.default_rng(1).normal(size=(options.width, options.classes))
        for start in range(0, options.rows, 10_000):
            rng, size = np.random.default_rng(start), min(10_000, options.rows - start)
            part = rng.normal(size=(size, options.width))
            made[start : start + size] = part.astype(np.float16)
            noisy = part @ teacher / 8 + rng.gumbel(size=(size, options.classes))
            labels[start : start + size] = noisy.argmax(axis=1)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        seconds, path = timed(
            lambda: fit_logistic(prepare(made), labels, STRENGTHS, n_classes=options.classes)
        )
        extra = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10
        held = options.rows * options.width * 4 / 2**20
        print(f"{held:.0f} MiB of features as float32: {seconds:.1f} s, {extra:.0f} MiB beyond "
              f"what was held; all within {path.certificate.gap.max():.1e} nats")  # fmt: skip


def main() -> None:
    """Run one of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("what", choices=("sklearn", "adamw", "cache", "disk"))
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--classes", type=int, default=8)
    parser.add_argument("--blocks", type=int, default=33)
    parser.add_argument("--power", type=float, default=1.0, help="of the spectrum")
    parser.add_argument("--noise", type=float, default=1.0, help="of the labels; 0 is separable")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    {"sklearn": against_sklearn, "adamw": against_adamw, "cache": whole_cache, "disk": on_disk}[
        options.what
    ](options)


if __name__ == "__main__":
    main()
