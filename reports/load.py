"""Result records off the disk, checked: whole, of this schema, and with untouched predictions.

A results folder holds one folder a run, `<results>/<pair>/<task>/`, with `record.json` and
`predictions.parquet`, and beside them the records of further analyses of the same pair and task
(`drift.json`, `diagnose.json`, `slices.json`, `where.json`). Whatever is not exactly that is
refused with the file's name; a report made from damaged evidence is worse than none.

An analysis may stand without a run: drift, a diagnosis and the token maps need none. One that was
made from other rows, weights or predictions than the run of the same name is left out and named.

Gradient conflict is about pairs of tasks: `gcd.json`, and `gcd-against-transfer.json` beside it,
lie in the folder of a pair, `<results>/<pair>/`, or of a trained model,
`<results>/socialfusion/<run>/`. Audits are about the rows of a task, `<results>/audits/<task>/`;
whether one is of the rows of a run, the report says.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, TypeVar

from degradation.errors import ConfigError, DataError
from probes.audits import RECORD as AUDIT
from probes.audits import AuditRecord, read_audit
from probes.conflict.records import RECORD as CONFLICT
from probes.conflict.records import ConflictRecord, read_conflict
from probes.diagnosis.records import DiagnosisRecord
from probes.drift.records import DriftRecord
from probes.records import Analysis, RunRecord
from probes.runs import PREDICTIONS, RECORD, read_analysis, read_run
from probes.slices.records import SlicesRecord, WhereRecord
from reports.fusion.load import Trainings, load_trainings
from reports.planned import Planned, read_planned
from socialfusion.transfer.against_conflict import AgainstRecord, read_against

__all__ = ["Analyses", "Conflict", "LeftOut", "Results", "load_results", "read_records"]

AnyRecord = TypeVar("AnyRecord", RunRecord, Analysis)
Key = tuple[str, str]
"""Name of a pair and label of a task."""


@dataclass(frozen=True, slots=True)
class Analyses:
    """What further analyses found, each by pair and task.

    Attributes:
        diagnose: Which kind of loss.
        drift: How far the features moved.
        slices: On which rows.
        where: In which part of the picture.
    """

    diagnose: tuple[DiagnosisRecord, ...] = ()
    drift: tuple[DriftRecord, ...] = ()
    slices: tuple[SlicesRecord, ...] = ()
    where: tuple[WhereRecord, ...] = ()

    def __iter__(self) -> Iterator[Analysis]:
        """All of them, kind after kind."""
        for name in KINDS:
            yield from getattr(self, name)

    def of(self, pair: str) -> "Analyses":
        """Those of one pair."""
        return Analyses(
            **{
                name: tuple(one for one in getattr(self, name) if one.pair.name == pair)
                for name in KINDS
            }
        )


KINDS: dict[str, type[Analysis]] = {
    "diagnose": DiagnosisRecord,
    "drift": DriftRecord,
    "slices": SlicesRecord,
    "where": WhereRecord,
}
"""The analyses by the name of their command, which is that of their file."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """Gradient conflict on one pair of encoders, or one trained model.

    Attributes:
        record: From `sdiag gcd`.
        against: The same against measured transfer; None if that was not asked for.
        folder: Where it lies beside its scalar products; None if it was not read off the disk.
    """

    record: ConflictRecord
    against: AgainstRecord | None = None
    folder: Path | None = None

    @property
    def name(self) -> str:
        """Of the pair, or of the model where there is none."""
        return self.record.model if self.record.pair is None else self.record.pair.name


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An analysis that does not belong to the run beside it.

    Attributes:
        analysis: Its name, as in `KINDS`, or `gcd`.
        pair: Name of the pair.
        task: Label of the task; empty for an analysis of all tasks together.
        reason: What differs, as the end of a sentence.
    """

    analysis: str
    pair: str
    task: str
    reason: str


@dataclass(frozen=True, slots=True)
class Results:
    """All that is below a results folder.

    Attributes:
        records: The runs, sorted by pair and task name, the rows of a list after all rows.
        unfinished: Folders, relative to the results, with predictions but no record.
        analyses: The analyses that belong to the runs, or for which there is no run.
        left_out: The analyses that do not.
        folders: Where each run lies.
        conflicts: Gradient conflict that belongs to the runs, or for which there is no run, by the
            name of the pair or model.
        trainings: Trained models: SocialFusion, transfer and ablations.
        audits: What splits share, by task.
        planned: The study that filled the folder; None where none did.
    """

    records: tuple[RunRecord, ...]
    unfinished: tuple[str, ...]
    analyses: Analyses = Analyses()
    left_out: tuple[LeftOut, ...] = ()
    folders: dict[Key, Path] = field(default_factory=dict)
    conflicts: tuple[Conflict, ...] = ()
    trainings: Trainings = field(default_factory=Trainings)
    audits: dict[str, AuditRecord] = field(default_factory=dict)
    planned: Planned | None = None


def load_results(results: Path) -> Results:
    """All runs and analyses below `results`, each validated against its schema.

    Args:
        results: A results folder, or the folder of one pair or of one run in it, of a trained model
            too.

    Returns:
        The records and the names of the folders of unfinished runs.

    Raises:
        ConfigError: There is no such folder, or no record in it.
        DataError: A record cannot be read, is of another schema, the predictions of a run are
            missing or were changed, or two records describe the same pair, task and rows, or the
            gradient conflict of the same pair or model, or two audits the same task; or the study
            that filled the folder cannot be read.
    """
    runs = _read_runs(results)
    found: dict[str, list[Analysis]] = {name: [] for name in KINDS}
    left_out: list[LeftOut] = []
    for name, kind in KINDS.items():
        files = _files(results, f"{name}.json")
        read = _by_key((path, read_analysis(path.parent, name, kind)) for path in files)
        for key, (_, one) in read.items():
            reason = _misfit(one, runs[key][1] if key in runs else None)
            if reason:
                left_out.append(LeftOut(name, *key, reason))
            else:
                found[name].append(one)
    conflicts: list[Conflict] = []
    for name, one in _read_conflicts(results).items():
        reason = _conflict_misfit(
            one.record, [run for key, (_, run) in runs.items() if key[0] == name]
        )
        if reason:
            left_out.append(LeftOut("gcd", name, "", reason))
        else:
            conflicts.append(one)
    trainings = load_trainings(results)
    if not runs and not any(found.values()) and not conflicts and not trainings:
        raise _nothing(results)
    return Results(
        records=tuple(record for _, record in runs.values()),
        unfinished=tuple(
            path.parent.relative_to(results).as_posix()
            for path in _files(results, PREDICTIONS)
            if not path.with_name(RECORD).exists()
        ),
        analyses=Analyses(**{name: tuple(members) for name, members in found.items()}),
        left_out=tuple(left_out),
        folders={key: path.parent for key, (path, _) in runs.items()},
        conflicts=tuple(conflicts),
        trainings=trainings,
        audits=_read_audits(results),
        planned=read_planned(results),
    )


def read_records(results: Path) -> tuple[RunRecord, ...]:
    """The runs below `results`, by pair and task, whatever analyses lie beside them.

    Raises:
        ConfigError: There is no such folder, or no run in it.
        DataError: As `load_results`, of runs.
    """
    runs = _read_runs(results)
    if not runs:
        raise _nothing(results)
    return tuple(record for _, record in runs.values())


def _read_runs(results: Path) -> dict[Key, tuple[Path, RunRecord]]:
    """All runs with their files, by pair and task, sorted."""
    if not os.path.isdir(results):  # False, too, for a name that no folder can have
        raise ConfigError(
            f"Expected a folder of result records, found no folder at {results}. "
            "Name the folder that `sdiag probe` wrote to, or run `sdiag probe` first."
        )
    for _ in os.walk(results, onerror=_unreadable):
        pass  # a search for files passes over folders that it may not enter
    return _by_key((path, read_run(path.parent)) for path in _files(results, RECORD))


def _unreadable(error: OSError) -> NoReturn:
    raise DataError(
        f"Expected a folder of records that can be read, found {error.strerror} at "
        f"{error.filename}. Give yourself the right to read it, or move it out of the results."
    ) from error


def _nothing(results: Path) -> ConfigError:
    return ConfigError(
        f"Expected `<pair>/<task>/{RECORD}` below {results}, found none. "
        "Run `sdiag probe` first, or name the folder that it wrote to."
    )


def _files(results: Path, name: str) -> list[Path]:
    """All files of a name, sorted; none in a hidden folder, where a run is still being written."""
    return [
        path
        for path in sorted(results.rglob(name))
        if not any(part.startswith(".") for part in path.relative_to(results).parts)
    ]


def _by_key(read: Iterable[tuple[Path, AnyRecord]]) -> dict[Key, tuple[Path, AnyRecord]]:
    """Records by pair and task, sorted, each with its file; two of the same are refused."""
    found: dict[Key, tuple[Path, AnyRecord]] = {}
    for path, record in read:
        key = (record.pair.name, record.task.label)
        if key in found:
            raise DataError(
                f"Expected one record of pair {key[0]!r} on task {key[1]!r}, found two: "
                f"{found[key][0]} and {path}. Move one of them out of the results."
            )
        found[key] = (path, record)
    return dict(sorted(found.items()))


def _misfit(one: Analysis, run: RunRecord | None) -> str:
    """Why an analysis does not belong to a run of its pair and task; empty if it does."""
    slices = isinstance(one, SlicesRecord)
    if run is None:
        return "splits the predictions of a run that is not there" if slices else ""
    weights = [(each.pair.pre_digest, each.pair.post_digest) for each in (one, run)]
    if weights[0] != weights[1]:
        return "was made from other weights than the run"
    rows = [{name: c.rows_digest for name, c in each.splits.items()} for each in (one, run)]
    if rows[0] != rows[1]:
        return "was made from other rows than the run"
    if slices and one.predictions_sha256 != run.predictions_sha256:
        return "splits other predictions than those of the run"
    return ""


def _read_conflicts(results: Path) -> dict[str, Conflict]:
    """Gradient conflict by the name of the pair or model, sorted; two of the same are refused."""
    found: dict[str, tuple[Path, Conflict]] = {}
    for path in _files(results, CONFLICT):
        record = read_conflict(path.parent)
        if record is None:
            continue
        one = Conflict(record, read_against(path.parent), path.parent)
        if one.name in found:
            raise DataError(
                f"Expected one record of gradient conflict of {one.name!r}, found two: "
                f"{found[one.name][0]} and {path}. Move one of them out of the results."
            )
        found[one.name] = (path, one)
    return {name: one for name, (_, one) in sorted(found.items())}


def _read_audits(results: Path) -> dict[str, AuditRecord]:
    """The audits by task, sorted; two of the same are refused."""
    found: dict[str, tuple[Path, AuditRecord]] = {}
    for path in _files(results, AUDIT):
        record = read_audit(path)
        if record.task in found:
            raise DataError(
                f"Expected one audit of {record.task!r}, found two: {found[record.task][0]} and "
                f"{path}. Move one of them out of the results."
            )
        found[record.task] = (path, record)
    return {task: record for task, (_, record) in sorted(found.items())}


def _conflict_misfit(one: ConflictRecord, runs: Iterable[RunRecord]) -> str:
    """Why gradient conflict does not belong to the runs of its pair; empty if it does."""
    if one.pair is None:
        return ""
    for run in runs:
        ours, theirs = ((pair.pre_digest, pair.post_digest) for pair in (one.pair, run.pair))
        if ours != theirs:
            return "was made from other weights than the runs"
        # Its rows are those of its batches, of which a run keeps no digest; but no more can have
        # been drawn from than the run had.
        card = run.splits.get(one.split)
        if card is None or run.task.row_list != one.row_list:
            continue
        if any(each.available > card.n for each in one.questions if each.task == run.task.name):
            return "was made from other rows than the runs"
    return ""
