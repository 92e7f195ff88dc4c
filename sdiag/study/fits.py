"""Whether what is there is what a study asks for. Each function says what differs, or nothing.

| stage | what is there is kept if |
|---|---|
| audit | every task has a record of this version, with the rows as they are read now, of the same tasks and settings, and the row lists asked for are there |
| extract | every split has a complete cache of this pair's encoders, by name, with the rows as they are read now, the same protocol, arithmetic, and at least the blocks asked for |
| probe, diagnose, drift, where | the record is of this version, these rows, weights and settings |
| slices | it was made from the predictions that the run has now |
| gcd | the same, of the same questions |
| train, transfer, ablate | runs are named after their settings, and hold digests of rows and weights |

Weights behind a name are read, and compared by their digest, only when something is extracted.
"""  # noqa: E501

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from degradation.cache import PairEntry, open_features, pairs
from degradation.errors import CacheError, DataError, SdiagError
from degradation.row_lists import row_list_path
from probes.audits import audit_path, read_audit
from probes.cards import pair_card, tool_version
from probes.conflict.records import ConflictRecord, read_conflict
from probes.diagnosis.records import DiagnosisRecord
from probes.diagnosis.settings import FULL, QUICK
from probes.drift.records import DriftRecord
from probes.folders import lies_in
from probes.records import Analysis, RunRecord
from probes.runs import RECORD, read_analysis, read_run
from probes.slices.records import SlicesRecord, WhereRecord
from probes.table import open_pair
from sdiag.study.encoders import StudyPair
from sdiag.study.schema import Audit, Diagnose, Drift, Gcd, Probe, Study, Where

__all__ = [
    "audit_fits",
    "cached_features",
    "cached_splits",
    "conflict_fits",
    "diagnosis_fits",
    "drift_fits",
    "probe_fits",
    "slices_fit",
    "where_fits",
]

NOT_THERE = "not there"


def cached_splits(cache: Path, pair: str, task: str) -> dict[str, PairEntry]:
    """The entries of a pair on a task, by split."""
    return {one.split: one for one in pairs(cache) if (one.pair, one.task) == (pair, task)}


def audit_fits(
    cache: Path, results: Path, rows: Mapping[str, Mapping[str, str | None]], asked: Audit
) -> str:
    """What keeps the audit on record from being that of a study; empty if nothing does.

    Args:
        cache: Root of all caches, where row lists are.
        results: Folder of the records.
        rows: Digest of the rows of each task and split, as they are read now; None where the data
            are not on this machine.
        asked: How to audit.
    """
    for task, digests in rows.items():
        path = audit_path(results, task)
        if not path.exists():
            return NOT_THERE
        try:
            record = read_audit(path)
        except DataError:
            return "cannot be read"
        there = record.digests(task)
        lists = [row_list_path(cache, asked.clean, task, one) for one in digests if asked.clean]
        if why := _differs(
            version=(record.tool_version, tool_version()),
            tasks=(record.tasks, set(rows)),
            rows=(there, {split: one or there.get(split) for split, one in digests.items()}),
            radius=(record.radius, asked.radius),
            reading=(record.opened, not asked.by_name),
            row_lists=(record.row_list == asked.clean and all(p.is_file() for p in lists), True),
        ):
            return why
    return ""


def cached_features(
    cache: Path,
    pair: StudyPair,
    task: str,
    rows: Mapping[str, str | None],
    study: Study,
) -> str:
    """What keeps the cached features of a pair on a task from being those of the study.

    Args:
        cache: Root of all caches.
        pair: Of the study.
        task: Name of the task, as its features have it.
        rows: Digest of the rows of each split, as they are read now; None where the data are not
            on this machine.
        study: As read.

    Returns:
        Empty if nothing does.
    """
    entries = cached_splits(cache, pair.name, task)
    if not entries:
        return NOT_THERE
    for split, digest in rows.items():
        if split not in entries:
            return f"split {split} is not there"
        entry = entries[split]
        if study.extract.random_init and entry.random is None:
            return "the random tower is not there"
        for name, address in (("pre", entry.pre), ("post", entry.post)):
            try:
                key = open_features(cache, address).key
            except CacheError:
                return f"{name} of {split} is not complete"
            facts = {
                "rows": (key.rows_digest, digest or key.rows_digest),
                "encoder": (key.encoder, pair.side(name).name),
                "protocol": (key.protocol.name, _protocol_name(pair, key.task.crop)),
                "size": (key.protocol.size, pair.choice.size or 0),
                "arithmetic": (key.compute, study.extract.precision),
                "blocks": (set(key.blocks) >= set(pair.choice.blocks or ()), True),
                "token maps": (set(key.token_blocks) >= set(pair.choice.token_blocks or ()), True),
            }
            if differ := [what for what, (is_there, asked) in facts.items() if is_there != asked]:
                return f"other {', '.join(differ)}"
    return ""


def _protocol_name(pair: StudyPair, crop: str) -> str:
    """Name of the protocol, with the cut that a task asks for unless the study names one."""
    geometry = pair.protocol.geometry
    return replace(pair.protocol, geometry=replace(geometry, crop=geometry.crop or crop)).name


def _beside(record: Analysis | RunRecord, cache: Path, folder: Path, row_list: str) -> str:
    """What differs between the evidence of a record and the cache, or the version."""
    if not lies_in(folder, record.pair.name, record.task.label):
        return "of another pair or task"
    if record.tool_version != tool_version():
        return f"made by sdiag {record.tool_version}"
    table, entry = open_pair(cache, record.task.name, record.pair.name, row_list=row_list)
    card, cards = pair_card(table, entry), table.cards()
    for side in ("pre_digest", "post_digest", "protocol"):
        if getattr(card, side) != getattr(record.pair, side):
            return f"other {side.replace('_', ' ')}"
    for split, one in record.splits.items():
        if split not in cards or cards[split].rows_digest != one.rows_digest:
            return f"other rows in {split}"
    return ""


def _checked(read: Callable[[], Any], check: Callable[[Any], str]) -> str:
    """What `check` says of what `read` finds; a record that cannot be read is made anew."""
    try:
        record = read()
        return NOT_THERE if record is None else check(record)
    except (DataError, OSError):
        return "cannot be read"
    except SdiagError:
        return "features changed"


def _differs(**facts: tuple[Any, Any]) -> str:
    """The names of what is not what it should be."""
    odd = [name.replace("_", " ") for name, (found, asked) in facts.items() if found != asked]
    return f"other {', '.join(odd)}" if odd else ""


def _blocks(cache: Path, record: Analysis | RunRecord, asked: tuple[int, ...] | None) -> set[int]:
    """The blocks asked for; all that are cached if none are named."""
    table, _ = open_pair(cache, record.task.name, record.pair.name)
    return set(table.blocks if asked is None else asked)


def probe_fits(cache: Path, folder: Path, asked: Probe, study: Study) -> str:
    """What keeps the run in a folder from being the one asked for; empty if nothing does."""

    def read() -> RunRecord | None:
        return read_run(folder) if (folder / RECORD).exists() else None

    def check(record: RunRecord) -> str:
        declared = {one.block for one in record.comparisons if not one.arm and one.block >= 0}
        spec = open_pair(cache, record.task.name, record.pair.name)[0].spec
        arms = asked.arms and (bool(spec.arms) or len(declared) > 1)  # else there is none
        refits = {one.training.refits for one in record.robustness if one.training is not None}
        return _differs(
            seed=(record.seed, study.seed),
            draws=(record.draws, asked.draws),
            blocks=(declared, _blocks(cache, record, asked.blocks)),
            arms=(bool(record.task.arms), arms),
            tuning_curve=(any(one.tuning for one in record.robustness), asked.curve),
            refits=(refits or {0}, {asked.refits}),
        ) or _beside(record, cache, folder, study.rows)

    return _checked(read, check)


def diagnosis_fits(cache: Path, folder: Path, asked: Diagnose, study: Study) -> str:
    """The same of a diagnosis."""
    settings = QUICK if asked.quick else FULL

    def check(record: DiagnosisRecord) -> str:
        found = {one.block for one in record.questions}
        table, entry = open_pair(cache, record.task.name, record.pair.name)
        subsets = {one.curve[0].subsets for one in record.questions if one.curve}
        return _differs(
            seed=(record.seed, study.seed),
            draws=(record.draws, asked.draws),
            margin=(record.margin, study.margin),
            blocks=(found, set(asked.blocks or [table.declared_block(entry)])),
            thoroughness=(subsets or {settings.subsets}, {settings.subsets}),
        ) or _beside(record, cache, folder, study.rows)

    return _checked(lambda: read_analysis(folder, "diagnose", DiagnosisRecord), check)


def drift_fits(cache: Path, folder: Path, asked: Drift, study: Study) -> str:
    """The same of drift."""

    def check(record: DriftRecord) -> str:
        blocks = {one.block for one in (*record.similarities, *record.shapes)}
        everything = asked.split == "all"
        return _differs(
            seed=(record.seed, study.seed),
            row_cap=(record.row_cap, asked.row_cap),
            shuffles=(record.shuffles, asked.shuffles),
            split=(set(record.measured), set(record.splits) if everything else {asked.split}),
            blocks=(blocks, set(asked.blocks or [record.block])),
        ) or _beside(record, cache, folder, study.rows)

    return _checked(lambda: read_analysis(folder, "drift", DriftRecord), check)


def slices_fit(cache: Path, folder: Path, study: Study) -> str:
    """The same of slices."""

    def check(record: SlicesRecord) -> str:
        digest = read_run(folder).predictions_sha256
        predictions = (record.predictions_sha256, digest)
        return _differs(predictions=predictions) or _beside(record, cache, folder, study.rows)

    return _checked(lambda: read_analysis(folder, "slices", SlicesRecord), check)


def where_fits(cache: Path, folder: Path, asked: Where, study: Study) -> str:
    """The same of the maps of single tokens."""

    def check(record: WhereRecord) -> str:
        return _differs(
            seed=(record.seed, study.seed),
            tokens=(record.tokens_a_picture, asked.tokens),
        ) or _beside(record, cache, folder, study.rows)

    return _checked(lambda: read_analysis(folder, "where", WhereRecord), check)


def conflict_fits(cache: Path, folder: Path, asked: Gcd, tasks: set[str], study: Study) -> str:
    """The same of gradient conflict between the questions of these tasks."""

    def check(record: ConflictRecord) -> str:
        if record.pair is None or not lies_in(folder, record.pair.name):
            return "of another pair"
        table, entry = open_pair(cache, min(tasks), record.pair.name, row_list=study.rows)
        card = pair_card(table, entry)
        digests = (record.pair.pre_digest, record.pair.post_digest)
        return _differs(
            version=(record.tool_version, tool_version()),
            tasks=({one.task for one in record.questions}, tasks),
            weights=(digests, (card.pre_digest, card.post_digest)),
            parameters=(record.parameters, asked.parameters),
            batch_size=(record.batch_size, asked.batch_size),
            batches=(record.batches_asked, asked.batches),
            split=(record.split, asked.split),
            rows=(record.row_list, study.rows),
            products=(record.exact, not asked.sketch_only),
            metric=(record.preconditioner != "none", asked.precondition == "adam"),
            labels=(any(one.labels == "swapped" for one in record.sides), asked.swapped_labels),
            arithmetic=(record.arithmetic, asked.precision),
            seed=(record.seed, study.seed),
        )

    return _checked(lambda: read_conflict(folder), check)
