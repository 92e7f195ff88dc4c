"""A study planned, priced and carried out, from the same list of steps."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from degradation.cache.files import write_atomically
from degradation.errors import ConfigError, DataError, InterruptedRun, SdiagError
from reports.planned import PLANNED
from sdiag.study.clocks import measured_rate
from sdiag.study.costs import Clock, Cost, Rate
from sdiag.study.reading import to_toml
from sdiag.study.schema import Fusion, Study
from sdiag.study.steps import Step, encoder_steps
from sdiag.study.trainings import final_steps, settings_of, training_steps
from sdiag.study.world import World

__all__ = ["Done", "Outlook", "outlook", "resolved", "run_study", "study_steps"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outlook:
    """One step of a plan.

    Attributes:
        step: Which.
        state: Whether it is there, has to be done, or cannot be.
        why: What is missing or differs, or why it cannot be done.
        cost: Of doing it; nothing if it is there.
        seconds: Estimated; None where nothing says how long.
        least: Whether it will take longer than that.
    """

    step: Step
    state: Literal["there", "to do", "cannot"]
    why: str
    cost: Cost
    seconds: float | None
    least: bool


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a step.

    Attributes:
        step: Which.
        outcome: `kept` what was there; `left out` because a step that it needs has failed.
        why: What was missing, or the message of the error.
        seconds: That it took.
        error: That stopped it.
    """

    step: Step
    outcome: Literal["kept", "done", "failed", "left out"]
    why: str
    seconds: float
    error: SdiagError | None = None


def study_steps(world: World) -> tuple[Step, ...]:
    """All steps of a study, in an order in which each comes after those that it needs.

    Raises:
        ConfigError: A setting of a training that there is not, or a step that is asked for twice.
    """
    steps = (*encoder_steps(world), *training_steps(world), *final_steps(world))
    counts = Counter(one.key for one in steps)
    if twice := [key for key, count in counts.items() if count > 1]:
        raise ConfigError(
            f"Expected every step once, found {twice[0]!r} asked for {counts[twice[0]]} times. "
            "Take the second out of the study."
        )
    return steps


def resolved(world: World) -> Study:
    """The study with nothing left to defaults: pairs, steps and settings of trainings.

    Settings of trainings are written out where all encoders of a stage have the same.
    """
    study = world.study

    def whole(fusion: Fusion) -> Fusion:
        every = [
            settings_of(world, fusion, pair, side).model_dump(
                mode="json", exclude={"encoder", "tasks", "seed", "row_list"}, exclude_none=True
            )
            for pair in world.pairs
            for side in fusion.sides
        ]
        tasks = fusion.tasks or world.tasks
        if any(one != every[0] for one in every):
            return fusion.model_copy(update={"tasks": tasks})
        steps = every[0].pop("steps")
        return fusion.model_copy(update={"tasks": tasks, "steps": steps, "settings": every[0]})

    return study.model_copy(
        update={
            "pair": tuple(one.choice for one in world.pairs),
            "train": study.train and whole(study.train),
            "transfer": study.transfer and whole(study.transfer),
            "ablate": tuple(whole(one) for one in study.ablate),
        }
    )


def outlook(world: World, steps: Sequence[Step]) -> tuple[list[Outlook], dict[Clock, Rate]]:
    """What a study would do now, and at what cost; nothing is written.

    A step whose inputs are not there is to do, whatever is there of it.

    Args:
        world: The study.
        steps: From `study_steps`.

    Returns:
        The steps in order, and the speed of everything that their times are made of.
    """
    found: dict[str, tuple[str, str, Cost]] = {}
    for step in steps:
        states = {need: found[need][0] for need in step.needs if need in found}
        try:
            if stopped := [need for need, state in states.items() if state == "cannot"]:
                found[step.key] = ("cannot", f"needs: {stopped[0]}", Cost())
                continue
            if waits := [need for need, state in states.items() if state == "to do"]:
                why = f"after: {waits[0]}" if len(waits) == 1 else f"after {len(waits)} others"
            else:
                why = step.differs()
            found[step.key] = ("to do", why, _cost(step)) if why else ("there", "", Cost())
        except SdiagError as error:
            found[step.key] = ("cannot", str(error), Cost())
    clocks = {clock for _, _, cost in found.values() for clock in cost.work}
    rates = {clock: measured_rate(clock, world) for clock in sorted(clocks)}
    plan = [
        Outlook(step, state, why, cost, cost.seconds(rates), cost.bounded(rates))
        for step, (state, why, cost) in ((step, found[step.key]) for step in steps)
    ]
    return plan, rates


def _cost(step: Step) -> Cost:
    """Of doing it; unknown where the data that say how many rows there are lie elsewhere."""
    try:
        return step.cost()
    except DataError as error:
        return Cost(unknown=str(error))


def run_study(
    world: World, steps: Sequence[Step], *, told: Callable[[Done], None] = lambda done: None
) -> list[Done]:
    """Carry out a study: whatever is not there, in order.

    A step that fails does not stop those that do not need it. An interruption does; what is
    finished is on disk, and the next call goes on there.

    Args:
        world: The study.
        steps: From `study_steps`.
        told: Called after each step.

    Returns:
        What became of each step, in order.

    Raises:
        CacheError: The results cannot be written.
        InterruptedRun: A training was asked to stop.
    """
    write_atomically(world.results / PLANNED, to_toml(resolved(world)).encode())
    found: dict[str, Done] = {}
    for step in steps:
        stopped = [
            need
            for need in step.needs
            if need in found and found[need].outcome in ("failed", "left out")
        ]
        if stopped:
            found[step.key] = Done(step, "left out", f"needs: {stopped[0]}", 0.0)
        else:
            found[step.key] = _carried_out(step)
        told(found[step.key])
    return list(found.values())


def _carried_out(step: Step) -> Done:
    """One step, unless what is there is what is asked for."""
    started = time.perf_counter()
    try:
        why = step.differs()
        if why:
            log.info("%s: %s", step.key, why)
            step.run()
        return Done(step, "done" if why else "kept", why, time.perf_counter() - started)
    except InterruptedRun:
        raise
    except SdiagError as error:
        return Done(step, "failed", str(error), time.perf_counter() - started, error)
