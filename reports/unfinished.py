"""What a study asked for and the results lack, in plain sentences."""

from collections import Counter
from collections.abc import Iterator, Sequence

from reports.load import KINDS, Results
from reports.markdown import code
from reports.planned import Planned

__all__ = ["lacking"]

PLACES = ("gaze", "track")
"""Kinds of tasks of whose single tokens `sdiag where` asks nothing."""
NAMED = 8
"""Most missing records of one stage that are named."""


def lacking(results: Results) -> list[str]:
    """One sentence in Markdown a stage that left less than was asked for; empty without a study."""
    study = results.planned
    if study is None:
        return []
    stages = (*_measured(study, results), *_trained(study, results))
    absent = {stage: names for stage, names in stages if names}
    said = [
        f"The study {code(study.name)} asks for {code(f'sdiag {stage}')} of {_listed(names)}; "
        f"there is no record of {'it' if len(names) == 1 else 'them'}."
        for stage, names in absent.items()
    ]
    if said:
        said[-1] += f" {code('sdiag study')} goes on with what is missing."
    return said


def _listed(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _measured(study: Planned, results: Results) -> Iterator[tuple[str, list[str]]]:
    """Stages on pairs of encoders, each with what is missing of it."""
    kinds = {one.task.label: one.task.kind for one in (*results.records, *results.analyses)}
    places = [(pair, task) for pair in study.pairs for task in study.labels]
    done = {"probe": {(one.pair.name, one.task.label) for one in results.records}}
    for name in KINDS:
        done[name] = {(one.pair.name, one.task.label) for one in getattr(results.analyses, name)}
    for stage, found in done.items():
        if getattr(study, stage) is not None:
            yield (
                stage,
                [
                    f"{code(pair)} on {code(task)}"
                    for pair, task in places
                    if (pair, task) not in found
                    and not (stage == "where" and kinds.get(task) in (None, *PLACES))
                ],
            )
    conflicts = {one.name: one for one in results.conflicts}
    if study.gcd is not None:
        yield "gcd", [code(pair) for pair in study.pairs if pair not in conflicts]
        if study.gcd.against_transfer:
            known = [conflicts[pair] for pair in study.pairs if pair in conflicts]
            yield "gcd --against-transfer", [code(one.name) for one in known if not one.against]


def _trained(study: Planned, results: Results) -> Iterator[tuple[str, list[str]]]:
    """Trainings, by the encoder that they read."""
    found = results.trainings
    if study.train is not None:
        tasks = set(study.train.tasks) or {one.name for one in study.task}
        # Single and pairwise runs of a transfer are no runs of this stage.
        whole = [one.settings for one in found.runs.values() if set(one.settings.tasks) == tasks]
        seeds = Counter(encoder for encoder, _ in {(one.encoder, one.seed) for one in whole})
        runs = {encoder for encoder, n in seeds.items() if n >= study.train.seeds}
        yield "train-socialfusion", _without(study, study.train.sides, runs)
    if study.transfer is not None:
        compared = {one.settings.encoder for one in found.transfers}
        yield "transfer", _without(study, study.transfer.sides, compared)
    for one in study.ablate:
        setting = one.setting
        changed = {
            each.settings.encoder for each in found.ablations if each.name.startswith(f"{setting}-")
        }
        yield f"ablate {setting}", _without(study, one.sides, changed)


def _without(study: Planned, sides: Sequence[str], done: set[str]) -> list[str]:
    """The encoders of which nothing is there."""
    wanted = [f"{pair}:{side}" for pair in study.pairs for side in sides]
    return [code(name) for name in wanted if name not in done]
