"""`sdiag study`: a whole study from one file."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sdiag.commands.options import CACHE, RESULTS, Cache, Json, Results, Weights, emit

if TYPE_CHECKING:
    from sdiag.study.costs import Clock, Rate
    from sdiag.study.run import Done, Outlook
    from sdiag.study.schema import Study

__all__ = ["EXAMPLES", "study"]

STATES = ("there", "to do", "cannot")

EXAMPLES = (
    "Examples:  sdiag study --list  |  sdiag study --tiny clip-and-dinov2  |  "
    "sdiag study three-families --show > mine.toml  |  sdiag study mine.toml --dry-run  |  "
    "sdiag study three-families --task hagrid=HaGRID --task affectnet=AffectNet"
)


def study(
    name: Annotated[
        str | None,
        typer.Argument(metavar="STUDY", help="Study file, or the name of a ready study."),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print what is there, what would be done, and what it would cost, after timing a "
            "few batches of each encoder. Nothing is written.",
        ),
    ] = False,
    ready: Annotated[bool, typer.Option("--list", help="List the ready studies.")] = False,
    tiny: Annotated[
        bool,
        typer.Option(
            "--tiny",
            help="The same stages on the rendered world and the embedded pair, with tiny settings.",
        ),
    ] = False,
    show: Annotated[
        bool, typer.Option("--show", help="Print the study with its defaults as TOML, to edit.")
    ] = False,
    task: Annotated[
        list[str] | None,
        typer.Option(
            "--task",
            "-t",
            metavar="NAME=DIR",
            help="Where the data of a task of the study are; repeat.",
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="In place of the study's: cpu, cuda, cuda:1.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Threads that open pictures. Default: the cores.", min=1)
    ] = None,
    weights: Weights = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Ask nothing of the hub; also so by HF_HUB_OFFLINE=1.")
    ] = False,
    cache: Cache = CACHE,
    results: Results = RESULTS,
    json: Json = False,
) -> None:
    """Run every stage of a study that is not done yet: extract, probe, train, report.

    Interrupt it at any moment: the next call goes on. A stage that fails does not stop those that
    do not need it. The study with all defaults filled in is saved as study.resolved.toml among the
    results.
    """
    from degradation.errors import ConfigError
    from sdiag.study.reading import read_study, ready_studies, study_path, to_toml

    if ready:
        known = ready_studies()
        emit(
            {key: one.model_dump(mode="json") for key, one in known.items()},
            "\n\n".join(_about(one) for one in known.values()),
            as_json=json,
        )
        return
    if name is None:
        raise ConfigError("Expected a study file or the name of a ready study. Try --list.")
    chosen = read_study(study_path(name))
    if tiny:
        from sdiag.study.tiny import tiny_version

        chosen = tiny_version(chosen)
    chosen = _placed(chosen, task)
    if device is not None:
        chosen = chosen.model_copy(update={"device": device})
    if show:
        emit(chosen.model_dump(mode="json"), to_toml(chosen).rstrip(), as_json=json)
        return
    from degradation.device import check_device
    from sdiag.study.encoders import study_pairs
    from sdiag.study.run import outlook, run_study, study_steps
    from sdiag.study.world import World

    check_device(chosen.device)
    world = World(
        chosen,
        study_pairs(chosen, weights),
        cache=cache,
        results=results,
        weights=weights,
        offline=offline,
        workers=workers or os.cpu_count() or 1,
    )
    steps = study_steps(world)
    if dry_run:
        plan, rates = outlook(world, steps)
        emit(_plan_data(plan, rates), _plan_text(plan, rates), as_json=json)
        return
    done = run_study(world, steps, told=_tell)
    emit([_done_data(one) for one in done], _done_text(done, results), as_json=json)
    failed = [one for one in done if one.error is not None]
    if failed:
        first = failed[0]
        raise type(first.error)(
            f"{len(failed)} of {len(done)} steps failed, first: {first.step.key}. {first.why} Then "
            "run the same command again; it goes on from there."
        )


def _placed(study: "Study", tasks: list[str] | None) -> "Study":
    """The study with the data roots that the command line names.

    Raises:
        ConfigError: A task that the study does not have, or no folder.
    """
    from degradation.errors import ConfigError
    from sdiag.commands.task_roots import task_roots

    roots = task_roots(tasks, None) if tasks else {}
    names = [one.name for one in study.task]
    for one, root in roots.items():
        if one not in names:
            raise ConfigError(
                f"Expected one of the study's tasks, {', '.join(names)}; found {one!r}."
            )
        if root is None:
            raise ConfigError(f"Expected --task {one}=DIR, the folder of its data; found no =.")
    placed = tuple(
        one.model_copy(update={"data_root": roots.get(one.name, one.data_root)})
        for one in study.task
    )
    return study.model_copy(update={"task": placed})


def _about(study: "Study") -> str:
    """What a ready study is and needs."""
    lines = [study.name, f"  {study.about}"]
    if study.needs is not None:
        needs = study.needs.model_dump()
        lines += [f"  {key + ':':<8} {text}" for key, text in needs.items()]
    return "\n".join(lines)


def _tell(done: "Done") -> None:
    """One line on stderr about a finished step."""
    why = f": {done.why}" if done.outcome in ("failed", "left out") else ""
    print(f"{done.outcome:<9} {done.step.key}{why}", file=sys.stderr)


def _done_data(done: "Done") -> dict[str, Any]:
    return {
        "stage": done.step.stage,
        "subject": done.step.subject,
        "outcome": done.outcome,
        "why": done.why,
        "seconds": round(done.seconds, 1),
    }


def _done_text(done: "list[Done]", results: Path) -> str:
    from collections import Counter

    counts = Counter(one.outcome for one in done)
    words = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    return f"{len(done)} steps: {words}. Records are in {results}."


def _plan_data(plan: "list[Outlook]", rates: "dict[Clock, Rate]") -> dict[str, Any]:
    steps = [
        {
            "stage": one.step.stage,
            "subject": one.step.subject,
            "state": one.state,
            "why": one.why,
            "pictures": one.cost.pictures,
            "bytes": one.cost.bytes,
            "flops": one.cost.flops,
            "seconds": one.seconds,
            "at_least": one.least,
            "not_known": one.cost.unknown,
        }
        for one in plan
    ]
    speed = {str(clock): {"per_second": r.per_second, "from": r.how} for clock, r in rates.items()}
    return {"steps": steps, "speed": speed}


def _plan_text(plan: "list[Outlook]", rates: "dict[Clock, Rate]") -> str:
    """The plan by stage and by step, as tables, and where the times come from."""
    import pandas as pd

    from sdiag.study.schema import STAGES

    stages = [[one for one in plan if one.step.stage == stage] for stage in STAGES]
    summed = [
        {"stage": some[0].step.stage, "steps": len(some)}
        | {state: sum(one.state == state for one in some) or "" for state in STATES}
        | _amounts(some)
        for some in stages
        if some
    ]
    every = {"stage": "all", "steps": len(plan)}
    every |= {state: sum(one.state == state for one in plan) or "" for state in STATES}
    steps = [
        {"stage": one.step.stage, "of": one.step.subject, "state": one.state}
        | _amounts([one])
        | {"why": one.cost.unknown or one.why.partition(". ")[0]}
        for one in plan
    ]
    lines = [
        pd.DataFrame([*summed, every | _amounts(plan)]).to_string(index=False),
        "",
        pd.DataFrame(steps).to_string(index=False),
        "",
        "Times: from short runs on this machine, as it is busy now (`--json` has them). > is at "
        "least so long; ? is not known; + more that is not known.",
    ]
    lines += [
        f"{clock.of}: {_scaled(one.per_second, 'FLOP/s')}, from {one.how}."
        for clock, one in rates.items()
        if clock.what in ("encoder", "language model")
    ]
    lines.append(
        "FLOPs: 2 x parameters x tokens + 4 x tokens^2 x width x blocks a picture; three times "
        "that with gradients. Those of probes are not counted, only timed."
    )
    return "\n".join(lines)


def _amounts(plan: "list[Outlook]") -> dict[str, str]:
    """What is to do in these steps, summed."""
    todo = [one for one in plan if one.state == "to do"]
    pictures = sum(one.cost.pictures for one in todo)
    return {
        "pictures": f"{pictures:,}" if pictures else "",
        "size": _scaled(sum(one.cost.bytes for one in todo), "B"),
        "FLOPs": _scaled(sum(one.cost.flops for one in todo), ""),
        "time": _time(todo),
    }


def _time(todo: "list[Outlook]") -> str:
    """Of all these steps: `40 s`, `> 3.5 h`, `?`, `12 min + ?`; empty for none."""
    known = [one for one in todo if one.seconds is not None]
    if not known:
        return "?" if todo else ""
    least = "> " if any(one.least for one in known) else ""
    more = " + ?" if len(known) < len(todo) else ""
    return least + _clock(sum(one.seconds or 0 for one in known)) + more


def _clock(seconds: float) -> str:
    """A span for people: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _scaled(value: float, unit: str) -> str:
    """`1.2 TB`, `3.4 P`; empty for 0."""
    if not value:
        return ""
    for prefix in ("", "k", "M", "G", "T", "P", "E"):
        if value < 1000:
            return f"{value:.3g} {prefix}{unit}".rstrip()
        value /= 1000
    return f"{value:.3g} Z{unit}"
