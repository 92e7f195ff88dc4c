"""The training loop: steps, looks at the validation rows, checkpoints, and clean stops.

Everything random follows from the seed, the number of the step and the rows seen so far, so that a
run that goes on from a checkpoint takes exactly the steps it would have taken.
"""

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64
from safetensors.torch import load_file, save_file
from tqdm import tqdm

from degradation.cache.files import write_atomically
from degradation.errors import DataError
from degradation.pipeline import read_ahead
from probes.statistics.bootstrap import stream
from socialfusion.checkpoint import RunState, save_checkpoint, write_folder
from socialfusion.evaluate import look
from socialfusion.learner import QuestionBatch
from socialfusion.mixing import Draw, Mixer
from socialfusion.records import FusionSettings, LossPoint, ValidationPoint
from socialfusion.samples import QuestionSamples
from socialfusion.schedule import learning_rate
from socialfusion.stepping import Stepper
from socialfusion.stopping import Progress

__all__ = ["BAD_BATCH", "Loop", "validation_rows"]

BAD_BATCH = "bad-batch.json"
"""Names the rows and losses of a step whose numbers were not finite."""
CURVE_POINTS = 100
"""Points of the loss curve."""
_WEIGHTS = "trained.safetensors"
_AHEAD, _WORKERS = 4, 2
_NORM = "gradient norm"

Plan = tuple[int, tuple[Draw, ...]]
"""Number of a step, and what it takes."""


def validation_rows(
    questions: Mapping[str, QuestionSamples], most: int
) -> dict[str, Int64[np.ndarray, " _"]]:
    """The validation rows that are looked at, by question; the same for every seed.

    Args:
        questions: By label; one without validation rows is not looked at.
        most: Rows of a question; of more, as many are drawn at random.
    """
    chosen = {}
    for label, one in questions.items():
        order = stream(0, f"validation/{label}").permutation(len(one.validation))
        if len(order):
            chosen[label] = np.sort(one.validation[order[:most]])
    return chosen


@dataclass(slots=True, eq=False)
class Loop:
    """A run between its steps.

    Attributes:
        stepper: Takes the steps.
        questions: By label, in a fixed order.
        folder: Of the run.
        identity: Settings and digests, which every checkpoint repeats.
        save_every: Steps between checkpoints; 0 for one at the end.
        ahead: Whether batches are read ahead by threads, as from a disk.
        asked: Whether this process was asked to stop.
        quiet: Whether no progress is shown.
        step: Steps taken.
        seen: Rows drawn, by question.
        sums: Of what the next point of the curve is the mean: sum and number.
        losses: Points of the curve.
        looks: Looks at the validation rows.
        progress: What was best.
        seconds: Wall time of the steps and looks before this process.
    """

    stepper: Stepper
    questions: Mapping[str, QuestionSamples]
    folder: Path
    identity: Mapping[str, object]
    save_every: int
    ahead: bool
    asked: Callable[[], bool]
    quiet: bool = False
    step: int = 0
    seen: dict[str, int] = field(default_factory=dict)
    sums: dict[str, tuple[float, float]] = field(default_factory=dict)
    losses: list[LossPoint] = field(default_factory=list)
    looks: list[ValidationPoint] = field(default_factory=list)
    progress: Progress = field(default_factory=lambda: Progress({}, {}, {}))
    seconds: float = 0.0
    _since: float = field(default_factory=time.monotonic)

    def resume(self, state: RunState) -> None:
        """Stand where a checkpoint stands; weights and moments are the caller's."""
        self.step, self.seen, self.sums = state.step, dict(state.seen), dict(state.sums)
        self.losses, self.looks = list(state.losses), list(state.validation)
        self.progress = Progress(state.best, state.waited, state.stops, state.mean, state.best_step)
        self.seconds = state.seconds
        for path in self.folder.glob("best-*"):
            if path != self._best():  # of steps that will be taken again
                shutil.rmtree(path)

    @property
    def settings(self) -> FusionSettings:
        """Of the run."""
        return self.stepper.settings

    @property
    def active(self) -> list[str]:
        """Questions that still get batches."""
        return [label for label in self.questions if label not in self.progress.stops]

    def run(self) -> bool:
        """Take the steps that are left; False if it was asked to stop before the end.

        A checkpoint is written either way.

        Raises:
            CacheError: A checkpoint cannot be written, or tokens cannot be read.
            DataError: A loss or a gradient is not finite; `bad-batch.json` names the rows.
        """
        self._since = time.monotonic()
        hidden = self.quiet or not self.stepper.accelerator.is_main_process
        with tqdm(total=self.settings.steps, initial=self.step, unit="step", disable=hidden) as bar:
            while not self.done:
                whole = self._take_until(self._pause(), bar)
                # Also when asked to stop: the run that goes on would not look here any more.
                if _due(self.step, self.settings.eval_every) or self.done:
                    self._look(bar)
                if _due(self.step, self.save_every) or self.done or not whole:
                    self._save()
                if not whole:
                    return False
        return True

    @property
    def done(self) -> bool:
        """Whether the budget is used up, or every question has had enough."""
        return self.step >= self.settings.steps or not self.active

    def _pause(self) -> int:
        """The step after which something else is due."""
        every = [one for one in (self.settings.eval_every, self.save_every) if one]
        return min([self.settings.steps, *((self.step // one + 1) * one for one in every)])

    def _take_until(self, last: int, bar: tqdm) -> bool:
        """Take steps up to a number of them; False if asked to stop."""
        self.stepper.model.train()
        with closing(self._batches(self._plans(last))) as batches:
            for (number, draws), own in batches:
                rate = learning_rate(
                    number,
                    self.settings.steps,
                    peak=self.settings.learning_rate,
                    warmup=self.settings.warmup,
                )
                taken = self.stepper.take(number, draws, own, rate=rate, halt=self.asked())
                if not taken.finite:
                    raise self._bad(number, draws, taken.losses)
                for draw in draws:
                    self.seen[draw.label] = draw.before + len(draw.rows)
                self.step = number + 1
                self._note(taken.losses, taken.norm, rate)
                bar.update()
                if taken.halt and not self.done:
                    return False
        return True

    def _plans(self, last: int) -> list[Plan]:
        """What the steps up to a number take."""
        rows = {label: one.train for label, one in self.questions.items()}
        mixer, seen, plans = Mixer(rows, self.settings), dict(self.seen), []
        for number in range(self.step, last):
            draws = mixer.step(number, self.active, seen)
            seen |= {draw.label: draw.before + len(draw.rows) for draw in draws}
            plans.append((number, draws))
        return plans

    def _batches(self, plans: Sequence[Plan]) -> Iterator[tuple[Plan, list[QuestionBatch]]]:
        """This process's share of every step."""

        def read(plan: Plan) -> tuple[Plan, list[QuestionBatch]]:
            return plan, [self._batch(draw) for draw in plan[1]]

        if self.ahead:
            yield from read_ahead(read, plans, _WORKERS, _AHEAD)
        else:
            yield from map(read, plans)

    def _batch(self, draw: Draw) -> QuestionBatch:
        """The share of one draw, its pictures changed by chance if they are to be."""
        rng = None
        if self.settings.augment:
            rank = self.stepper.accelerator.process_index
            rng = stream(self.settings.seed, f"augment/{draw.label}/{draw.before}/{rank}")
        return self.questions[draw.label].batch(self.stepper.share(draw), rng)

    def _note(self, losses: Mapping[str, tuple[float, float]], norm: float, rate: float) -> None:
        """Add a step to the curve."""
        for name, (total, count) in {**losses, _NORM: (norm, 1.0)}.items():
            before = self.sums.get(name, (0.0, 0.0))
            self.sums[name] = (before[0] + total, before[1] + count)
        if _due(self.step, max(1, self.settings.steps // CURVE_POINTS)) or self.done:
            means = {name: total / count for name, (total, count) in self.sums.items()}
            self.sums.clear()
            norm = means.pop(_NORM)
            point = LossPoint(step=self.step, losses=means, learning_rate=rate, gradient_norm=norm)
            self.losses.append(point)
            values = {f"loss/{label}": value for label, value in means.items()}
            values |= {"learning rate": rate, _NORM: norm}
            self.stepper.accelerator.log(values, step=self.step)

    def _look(self, bar: tqdm) -> None:
        """Look at the validation rows, and keep the weights if they are the best."""
        rows = validation_rows(self.questions, self.settings.validation_rows)
        if not self.settings.eval_every or not rows:
            return
        model = self.stepper.model.eval()
        losses, scores = look(
            model, self.questions, self.stepper.place, rows=rows, batch_size=self.batch_size
        )
        self.looks.append(ValidationPoint(step=self.step, losses=losses, scores=scores))
        self.progress = self.progress.looked(self.step, losses, self.settings.patience)
        mean = sum(losses.values()) / len(losses)
        bar.set_postfix_str(f"validation loss {mean:.3f}")
        values = {f"validation/{label}": value for label, value in losses.items()}
        self.stepper.accelerator.log(values, step=self.step)
        if self.progress.step == self.step:
            self._once(lambda: write_folder(self._best(), self._write_best))

    @property
    def batch_size(self) -> int:
        """Rows at once where nothing is differentiated."""
        return 4 * self.settings.batch_size

    def _best(self) -> Path:
        return self.folder / f"best-{self.progress.step:06d}"

    def _write_best(self, folder: Path) -> None:
        tensors = {
            name: one.detach().cpu().contiguous() for name, one in self.stepper.parameters.items()
        }
        save_file(tensors, folder / _WEIGHTS)

    def take_best(self) -> bool:
        """Put the best weights into the model; False if it has never been looked at."""
        if self.progress.mean is None:
            return False
        stored = load_file(self._best() / _WEIGHTS)
        with torch.no_grad():
            for name, one in self.stepper.parameters.items():
                one.copy_(stored[name])
        return True

    def _count_time(self) -> None:
        """Add the time since this was last called."""
        now = time.monotonic()
        self.seconds, self._since = self.seconds + now - self._since, now

    def state(self) -> RunState:
        """All that a checkpoint has to keep beside weights and moments."""
        return RunState(
            **self.identity,
            step=self.step,
            seen=self.seen,
            losses=tuple(self.losses),
            sums=self.sums,
            validation=tuple(self.looks),
            best=dict(self.progress.best),
            waited=dict(self.progress.waited),
            stops=dict(self.progress.stops),
            mean=self.progress.mean,
            best_step=self.progress.step,
            seconds=self.seconds,
        )

    def _save(self) -> None:
        """Write a checkpoint; weights that were the best before it are not needed any more."""
        self._count_time()

        def write() -> None:
            stepper = self.stepper
            save_checkpoint(
                self.folder, stepper.model, stepper.parameters, stepper.optimiser, self.state()
            )
            for path in self.folder.glob("best-*"):
                if path != self._best():
                    shutil.rmtree(path)

        self._once(write)

    def _once(self, action: Callable[[], None]) -> None:
        """Let one process do what is done once, and all wait for it."""
        if self.stepper.accelerator.is_main_process:
            action()
        self.stepper.accelerator.wait_for_everyone()

    def _bad(
        self, number: int, draws: Sequence[Draw], losses: Mapping[str, tuple[float, float]]
    ) -> DataError:
        """The error for numbers that are not finite, after writing down where they came from."""
        self.stepper.model.eval()
        found = []
        for draw in draws:
            samples = self.questions[draw.label]
            with torch.no_grad(), self.stepper.place.arithmetic():
                each = self.stepper.model(self.stepper.place.put(samples.batch(draw.rows)))
            ids = samples.task.table.ids[draw.rows].astype(str).tolist()
            rows = [{"id": i, "loss": repr(v)} for i, v in zip(ids, each.tolist(), strict=True)]
            found.append({"question": draw.label, "rows": rows})
        text = json.dumps({"step": number, "batches": found}, indent=1)
        self._once(lambda: write_atomically(self.folder / BAD_BATCH, text.encode()))
        odd = [label for label, (total, _) in losses.items() if not np.isfinite(total)]
        what = f"the loss of {', '.join(odd)}" if odd else "the gradient"
        return DataError(
            f"Expected finite numbers, but at step {number} {what} is not. The rows and their "
            f"losses are in {self.folder / BAD_BATCH}; nothing was learned from them, and earlier "
            "checkpoints are kept. Look at these rows, or lower --lr, or compute in float32."
        )


def _due(step: int, every: int) -> bool:
    """Whether something that comes every so many steps comes now; 0 for never."""
    return every > 0 and step % every == 0
