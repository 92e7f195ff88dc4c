"""How the numbers were measured, in sentences for a paper, and the commands that make them again.

Both come from the records: a paragraph that is written from memory describes another experiment.
What a record does not hold is said not to be known, in place of a guess.
"""

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from degradation.encoders.registry import get_pair
from degradation.errors import ConfigError
from probes.conflict.records import ConflictRecord
from probes.diagnosis.records import DiagnosisRecord
from probes.diagnosis.settings import QUICK
from probes.drift.records import DriftRecord
from probes.questions import CLASS_PROBE, GAZE_PROBE
from probes.records import Analysis, Comparison, PairCard, RunRecord
from probes.slices.records import WhereRecord
from probes.summary import METHOD
from reports.audits import audit_commands, audit_words
from reports.formats import count
from reports.fusion.methods import training_commands, training_methods
from reports.load import KINDS, Results
from reports.markdown import code, escape, fenced
from reports.names import DATA, on_disk, task_option
from reports.sentences import listed
from socialfusion.transfer.records import AblationRecord, TransferRecord

__all__ = ["commands", "methods_section"]

Made = RunRecord | Analysis | ConflictRecord | TransferRecord | AblationRecord
"""A record of any kind that says which version made it."""

PROBES = {
    CLASS_PROBE: "multinomial logistic regression with an L2 penalty on z-scored features",
    GAZE_PROBE: "a conditional logit over the cells of the picture with an L2 penalty",
}
"""The probes that carry verdicts, in words."""
INTERVAL = (
    "Intervals are Student's t on the jackknife over clusters, paired: leaving out a cluster "
    "leaves it out on both sides"
)
AGAIN = (
    "Every record can be made again. What records do not name is taken for the default: blocks, "
    "size and arithmetic of the extraction."
)
DEFAULT_PROTOCOL = "paired-native-grid v1"


def methods_section(results: Results, *, margin: float, alpha: float) -> str:
    """The methods as Markdown, without a heading; empty without any record.

    Args:
        results: What was read.
        margin: Of equivalence, in points.
        alpha: Level of the tests.
    """
    lines = list(commands(results))
    if not lines:
        return ""
    said = [
        *_encoders(results.records),
        _rows(results.records),
        audit_words(results.records, results.audits),
        _probes(results.records),
        _statistics(results.records, margin, alpha),
        training_methods(results.trainings),
        _versions(_made(results)),
    ]
    parts = [" ".join(filter(None, said)), AGAIN]
    parts.append(fenced(lines, "console"))
    if any(DATA in line for line in lines):
        parts.append(
            f"{code(DATA)} stands for the folder of the data set, which records do not name."
        )
    return "\n\n".join(parts)


def _made(results: Results) -> list[Made]:
    """All records, of whatever kind."""
    conflicts = (one.record for one in results.conflicts)
    trained = (*results.trainings.transfers, *results.trainings.ablations)
    return [*results.records, *results.analyses, *conflicts, *trained]


def _encoders(records: Sequence[RunRecord]) -> Iterator[str]:
    """Which encoders, and how both saw the same."""
    cards = {record.pair.name: record.pair for record in records}
    compared: dict[str, list[str]] = {}
    for card in cards.values():
        how = "" if card.imported else card.protocol
        pre, post = (
            f"{code(side)} (weights {code(digest[:12])})"
            for side, digest in ((card.pre, card.pre_digest), (card.post, card.post_digest))
        )
        compared.setdefault(how, []).append(f"{code(card.name)}, {pre} before and {post} after")
    for protocol, pairs in compared.items():
        how = (
            f"by the protocol {escape(protocol)}, which shows both sides the same pictures"
            if protocol
            else "as computed elsewhere and imported"
        )
        yield f"Features were compared {how}: {'; '.join(pairs)}."


def _rows(records: Sequence[RunRecord]) -> str:
    """On which rows, task by task."""
    if not records:
        return ""
    said = []
    for label in dict.fromkeys(record.task.label for record in records):
        record = next(one for one in records if one.task.label == label)
        splits = [f"{count(card.n)} {escape(name)}" for name, card in record.splits.items()]
        last = list(record.splits.values())[-1]
        said.append(
            f"{code(label)} ({escape(record.task.source)}; {', '.join(splits)} rows, the last in "
            f"{count(last.clusters)} clusters by {escape(record.task.cluster)})"
        )
    return f"Rows: {'; '.join(said)}."


def _declared(records: Sequence[RunRecord]) -> list[tuple[RunRecord, Comparison]]:
    return [(run, one) for run in records for one in run.comparisons if one.confirmatory]


def _probes(records: Sequence[RunRecord]) -> str:
    """What was fitted, where, and how its strength was chosen."""
    declared = _declared(records)
    if not declared:
        return ""
    kinds = [
        f"{code(name)} ({PROBES[name]})" if name in PROBES else code(name)
        for name in dict.fromkeys(one.probe for _, one in declared)
    ]
    rules = listed([escape(rule) for rule in dict.fromkeys(one.selection for _, one in declared)])
    blocks = sorted({one.block for _, one in declared})
    where = f"block{'s' if len(blocks) > 1 else ''} {', '.join(map(str, blocks))}"
    tuned = {point.strength for run in records for one in run.robustness for point in one.tuning}
    among = f" among {len(tuned)} strengths from {min(tuned):g} to {max(tuned):g}" if tuned else ""
    weighted = sorted({escape(run.task.label) for run, _ in declared if run.task.balanced})
    balanced = f" Classes were weighted equally in {listed(weighted)}." if weighted else ""
    return (
        f"Probes of frozen features: {listed(kinds)}, declared beforehand at {where}. The strength "
        f"of the penalty was chosen for each side by the same rule{among} ({rules}), never on the "
        f"rows reported.{balanced}"
    )


def _statistics(records: Sequence[RunRecord], margin: float, alpha: float) -> str:
    """Intervals, tests and verdicts."""
    declared = _declared(records)
    if not declared:
        return ""
    methods = dict.fromkeys(one.interval for _, one in declared)
    how = INTERVAL if list(methods) == [METHOD] else f"Intervals: {listed([*map(escape, methods)])}"
    draws = listed([count(n) for n in sorted({run.draws for run in records})])
    seeds = listed([str(seed) for seed in sorted({run.seed for run in records})])
    refits = {
        one.training.refits for run in records for one in run.robustness if one.training is not None
    }
    again = (
        f" Each declared probe was fitted {listed([str(n) for n in sorted(refits)])} more times on "
        "training clusters drawn anew."
        if refits
        else ""
    )
    return (
        f"{how}; {draws} draws for the bootstrap and the permutation tests beside them, seed "
        f"{seeds}.{again} Verdicts: equivalence by two one-sided tests within ±{margin:g} points "
        f"first, else a difference at level {alpha:g}, with Holm's correction over the declared "
        "comparisons."
    )


def _versions(records: Sequence[Made]) -> str:
    """With which software."""
    versions = sorted({one.tool_version for one in records})
    return f"Measured with sdiag {escape(listed(versions))}."


def commands(results: Results) -> Iterator[str]:
    """Command lines that make the records again, in order; lines that begin with # are remarks.

    Args:
        results: What was read.
    """
    made = (*results.records, *results.analyses)
    cards: dict[str, PairCard] = {}
    tasks_of: dict[str, list[str]] = {}
    measured = [one.record for one in results.conflicts]
    for card, tasks in (
        *((one.pair, [one.task.name]) for one in made),
        *((one.pair, [asked.task for asked in one.questions]) for one in measured if one.pair),
    ):
        cards[card.name] = card
        tasks_of.setdefault(card.name, []).extend(tasks)
    tokens = {
        name: tuple(sorted({one.block for one in results.analyses.where if one.pair.name == name}))
        for name in cards
    }
    yield from _features(cards, tasks_of, tokens)
    yield from audit_commands(results.audits)
    written = {one.row_list for one in results.audits.values()}
    for name in sorted({one.task.row_list for one in made} - written - {""}):
        yield f"# The row lists {_plain(name)}: sdiag audit, with --clean {_plain(name)}"
    for command, kind in (("probe", results.records), *_analyses(results)):
        alike: dict[tuple[str, ...], list[str]] = {}
        for one in kind:
            alike.setdefault((one.pair.name, *OPTIONS[command](one)), []).append(one.task.name)
        for models, tasks, options in _merged(alike):
            parts = [*_each("--model", models), *_each("--task", tasks), *options]
            yield shlex.join(["sdiag", command, *parts])
    yield from map(_conflict, measured)
    yield from training_commands(results.trainings, task_option)


def _conflict(one: ConflictRecord) -> str:
    """How gradient conflict was measured."""
    if one.pair is None:
        return f"# Gradient conflict of the model {_plain(one.model)}: sdiag gcd"
    tasks = dict.fromkeys(card.task for card in one.questions)
    named = [task_option(name) for name in tasks]
    said = {
        "--parameters": one.parameters,
        "--batch-size": one.batch_size,
        "--batches": one.batches_asked,
        "--split": one.split,
        "--dtype": one.arithmetic,
        "--seed": one.seed,
    }
    flags = [
        *(["--rows", one.row_list] if one.row_list else []),
        *([] if one.exact else ["--sketch-only"]),
        *([] if one.preconditioner == "none" else ["--precondition", "adam"]),
        *(["--swapped-labels"] if any(side.labels == "swapped" for side in one.sides) else []),
    ]
    parts = [*_each("--task", named), *(str(part) for pair in said.items() for part in pair)]
    return shlex.join(["sdiag", "gcd", "--model", one.pair.name, *parts, *flags])


def _merged(
    alike: Mapping[tuple[str, ...], Sequence[str]],
) -> Iterator[tuple[list[str], Sequence[str], Sequence[str]]]:
    """Pairs that were asked the same tasks with the same options, with both."""
    models: dict[tuple[tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for (pair, *options), tasks in alike.items():
        models.setdefault((tuple(tasks), tuple(options)), []).append(pair)
    for (tasks, options), names in models.items():
        yield names, tasks, options


def _analyses(results: Results) -> Iterator[tuple[str, Sequence[Analysis]]]:
    """Command and records of every kind of analysis."""
    return ((name, getattr(results.analyses, name)) for name in KINDS)


def _features(
    cards: Mapping[str, PairCard],
    tasks_of: Mapping[str, list[str]],
    tokens: Mapping[str, Sequence[int]],
) -> Iterator[str]:
    """How the features of the pairs come into the cache, with token maps where they were read."""
    alike: dict[tuple[str, ...], list[PairCard]] = {}
    for name, card in cards.items():
        if card.imported:
            yield f"# The features of {_plain(name)} were imported: sdiag cache import"
            continue
        if card.protocol != DEFAULT_PROTOCOL:
            yield f"# {_plain(name)}: with the options that give {_plain(card.protocol)}"
        maps = tuple(_each("--token-block", map(str, tokens[name])))
        for source in _sources(list(dict.fromkeys(tasks_of[name]))):
            alike.setdefault((*source, *maps), []).append(card)
    for rest, members in alike.items():
        known = [card.name for card in members if _is_known(card)]
        if known:
            yield shlex.join(["sdiag", "extract", *_each("--model", known), *rest])
        for card in members:
            if card.name not in known:
                sides = ["--pre", card.pre, "--post", card.post, "--name", card.name]
                yield shlex.join(["sdiag", "extract", *sides, *rest])


def _sources(tasks: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Options that name tasks, all in one command but those with a folder of their own."""
    if own := [name for name in tasks if not on_disk(name)]:
        yield tuple(_each("--task", own))
    for name in filter(on_disk, tasks):
        yield ("--task", name, "--data-root", DATA)


def _is_known(card: PairCard) -> bool:
    """Whether the name of a pair alone says which encoders it is of."""
    try:
        known = get_pair(card.name)
    except ConfigError:
        return False
    return (known.pre, known.post) == (card.pre, card.post)


def _rows_of(one: RunRecord | Analysis) -> list[str]:
    return ["--rows", one.task.row_list] if one.task.row_list else []


def _probe_options(run: RunRecord) -> list[str]:
    """What a run of probes was told, as far as it is recorded."""
    refits = {0 if one.training is None else one.training.refits for one in run.robustness}
    said = ["--refits", str(max(refits))] if refits else []
    return [*_rows_of(run), "--seed", str(run.seed), "--draws", str(run.draws), *said]


def _diagnose_options(one: DiagnosisRecord) -> list[str]:
    """What a diagnosis was told; a quick one has fewer shares of the training clusters."""
    shares = {tuple(point.share for point in asked.curve) for asked in one.questions}
    quick = QUICK.portions in shares
    said = ["--seed", str(one.seed), "--draws", str(one.draws), "--margin", f"{one.margin:g}"]
    return [*_rows_of(one), *said, *(["--quick"] if quick else [])]


def _drift_options(one: DriftRecord) -> list[str]:
    """What a measurement of drift was told."""
    split = one.measured[0] if len(one.measured) == 1 else "all"
    said = ["--seed", str(one.seed), "--row-cap", str(one.row_cap), "--shuffles", str(one.shuffles)]
    return [*_rows_of(one), *said, *(["--split", split] if split != "test" else [])]


def _where_options(one: WhereRecord) -> list[str]:
    """What a reading of single tokens was told."""
    said = {"--seed": one.seed, "--block": one.block, "--tokens": one.tokens_a_picture}
    return [*_rows_of(one), *(str(part) for pair in said.items() for part in pair)]


OPTIONS: dict[str, Callable[..., list[str]]] = {
    "probe": _probe_options,
    "diagnose": _diagnose_options,
    "drift": _drift_options,
    "slices": _rows_of,
    "where": _where_options,
}
"""Options of each command from a record of its kind."""


def _each(option: str, values: Iterable[str]) -> list[str]:
    return [part for value in values for part in (option, value)]


def _plain(text: str) -> str:
    """Text on one line, as a remark in a shell needs it."""
    return " ".join(text.split())
