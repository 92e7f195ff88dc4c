"""What audits say of the rows that were probed and trained on: warnings, methods, commands.

An audit counts if it is of the rows that a run read: their digests say so. Runs on the rows of a
list are not warned of, for a list leaves out what its audit found.
"""

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence

from degradation.audit import RADIUS, Exposed
from degradation.tasks.registry import DEFAULT_TASKS
from probes.audits import AuditRecord
from probes.records import RunRecord, SplitCard
from reports.formats import count
from reports.markdown import code, escape
from reports.names import task_option
from reports.sentences import listed
from socialfusion.records import FusionRecord

__all__ = ["audit_commands", "audit_words", "joint_leaks", "leaks"]


def leaks(records: Sequence[RunRecord], audits: Mapping[str, AuditRecord]) -> Iterator[str]:
    """What is known of leaks in the tasks of one pair, one sentence in Markdown each kind.

    Args:
        records: The runs of the pair.
        audits: By task.

    Returns:
        Rows that were seen in training, rows that look so, audits of other rows, and tasks that
        nobody audited; rendered tasks, whose splits are drawn apart, are left out of the last.
    """
    official = [run for run in records if not run.task.row_list]
    fitting = [run for run in official if _is_of(audits.get(run.task.name), run.splits)]
    exposed = [(run, _exposed(run, audits)) for run in fitting]
    seen = [(run, one) for run, one in exposed if one and one.rows]
    certain = [(run, one) for run, one in seen if one.ways["file"] or one.ways["cluster"]]
    if certain:
        said = "; ".join(
            f"{code(run.task.name)}, {_of(one)} ({_ways(one, run.task.cluster, audits)})"
            for run, one in certain
        )
        yield (
            f"Rows of test were seen in training, so scores flatter both sides: {said}. "
            f"{_without([run for run, _ in certain], records, audits)}"
        )
    if alike := [(run, one) for run, one in seen if (run, one) not in certain]:
        said = "; ".join(f"{code(run.task.name)}, {_of(one)}" for run, one in alike)
        bits = listed([str(n) for n in sorted({audits[run.task.name].radius for run, _ in alike})])
        command = _line(_audit(run.task.name for run, _ in alike), "--out", "DIR")
        yield (
            f"Pictures of test look like some of training (hashes within {bits} bits), as copies "
            f"do, and now and then two different pictures: {said}. {code(command)} names some."
        )
    if other := [
        run.task.name for run in official if run.task.name in audits and run not in fitting
    ]:
        yield (
            f"The audit of {listed([*map(code, other)])} is of other rows than those probed, and "
            f"says nothing of these. Run {code(_line(_audit(other)))} again."
        )
    yield from _unaudited([run for run in official if run.task.name not in audits])


def _unaudited(records: Sequence[RunRecord]) -> Iterator[str]:
    """Tasks that nobody looked at; those of the rendered world are drawn apart."""
    unknown = {run.task.name: run for run in records if run.task.name not in DEFAULT_TASKS}
    if not unknown:
        return
    here = [name for name, run in unknown.items() if not run.pair.imported]
    command = _line(_audit(here), "--clean", "NAME")
    how = (
        f" {code(command)} looks for that, and {code('sdiag probe --rows NAME')} leaves out what "
        "it finds."
        if here
        else " Their features were imported, so only who made the splits can tell."
    )
    yield (
        f"Nothing in the records says that the splits of {listed([*map(code, unknown)])} were "
        f"audited: rows of test may share pictures or people with what was learned from.{how}"
    )


def _is_of(audit: AuditRecord | None, splits: Mapping[str, SplitCard], task: str = "") -> bool:
    """Whether an audit is of the rows that a run read."""
    if audit is None:
        return False
    digests = audit.digests(task or audit.task)
    return all(digests.get(split) == card.read_digest for split, card in splits.items())


def _exposed(run: RunRecord, audits: Mapping[str, AuditRecord]) -> Exposed | None:
    """What the test rows of a run share with what its own probes were fitted on."""
    return audits[run.task.name].exposed_to(run.task.name, [*run.splits][-1])


def _of(one: Exposed) -> str:
    return f"{count(one.rows)} of {count(one.of_rows)}"


def _ways(one: Exposed, cluster: str, audits: Mapping[str, AuditRecord]) -> str:
    """In which way they were seen; how many in which, where there are several."""
    same = "picture" if audits[one.evaluated[0]].opened else "name of the picture"
    words = {
        "file": f"by the same {same}",
        "near": "by one that looks the same",
        "cluster": f"by the same {escape(cluster)}",
    }
    ways = [(n, words[kind]) for kind, n in one.ways.items() if n]
    return ", ".join(f"{count(n)} {how}" if len(ways) > 1 else how for n, how in ways)


def _without(
    runs: Sequence[RunRecord], records: Sequence[RunRecord], audits: Mapping[str, AuditRecord]
) -> str:
    """How to read the same questions on rows without leaks."""
    said = []
    lists: dict[str, list[str]] = {}
    for run in runs:
        lists.setdefault(audits[run.task.name].row_list, []).append(run.task.name)
    for name, tasks in lists.items():
        there = {run.task.name for run in records if run.task.row_list == name}
        if not name:
            command = _line(_audit(tasks), "--clean", "NAME")
            said.append(
                f"{code(command)} writes lists of rows without these, and "
                f"{code('sdiag probe --rows NAME')} reads them."
            )
        elif there >= set(tasks):
            besides = listed([code(f"{task}@{name}") for task in tasks])
            said.append(f"The runs without these stand beside: {besides}.")
        else:
            parts = [part for task in tasks for part in ("--task", task)]
            command = _line(["probe", *parts], "--rows", name)
            said.append(f"The row lists {code(name)} leave these out: {code(command)}.")
    return " ".join(said)


def joint_leaks(runs: Iterable[FusionRecord], audits: Mapping[str, AuditRecord]) -> Iterator[str]:
    """What training on several tasks together has seen of the test rows of each.

    Args:
        runs: Trained models, on all rows or on those of lists.
        audits: By task.

    Returns:
        Rows that were seen in another task, and tasks that nobody audited together.
    """
    together = [run for run in runs if len(run.tasks) > 1 and not run.settings.row_list]
    unknown: dict[str, None] = {}
    said: dict[str, None] = {}
    for run in together:
        for task, splits in run.splits.items():
            audit = audits.get(task)
            for seen in (other for other in run.splits if other != task):
                fits = _is_of(audit, splits) and _is_of(audit, run.splits[seen], seen)
                one = audit.exposed_to(seen, [*splits][-1]) if audit and fits else None
                if one is None:
                    unknown |= dict.fromkeys((task, seen))
                elif one.ways["file"] or one.ways["cluster"]:
                    said[_met(one, run.tasks[task].cluster, audits)] = None
    if said:
        tasks = list(dict.fromkeys(task for run in together for task in run.tasks))
        lists = sorted({audits[task].row_list for task in tasks if task in audits} - {""})
        name = lists[0] if len(lists) == 1 else "NAME"
        made = "" if lists else f"{code(_line(_audit(tasks), '--clean', name))} writes lists, and "
        yield (
            f"Training on tasks together has seen rows of test, which training on one has not: "
            f"{'; '.join(said)}. What it gains there may be memory. {made}"
            f"{code(f'--rows {name}')} trains without these."
        )
    if unknown.keys() - set(DEFAULT_TASKS):
        yield (
            f"Nothing in the records says that {listed([*map(code, unknown)])} were audited "
            "together: where test pictures of one task are training pictures of another, only "
            "training on both has seen them. "
            f"{code(_line(_audit(unknown), '--clean', 'NAME'))} looks for that, and "
            f"{code('--rows NAME')} trains without what it finds."
        )


def _met(one: Exposed, cluster: str, audits: Mapping[str, AuditRecord]) -> str:
    """Rows of a task that are learned from in another, and what their labels there give away."""
    task, split = one.evaluated
    given = [
        each.implied
        for each in audits[task].implied
        if (each.evaluated[1], each.seen[0]) == (split, one.seen)
    ]
    away = f", whose labels there give away {100 * max(given):.0f} % of all" if given else ""
    return f"{_of(one)} of {code(task)} in {code(one.seen)} ({_ways(one, cluster, audits)}){away}"


def audit_words(records: Sequence[RunRecord], audits: Mapping[str, AuditRecord]) -> str:
    """Which of the probed tasks were audited, how, and with what result.

    Rendered tasks, whose splits are drawn apart, are not named if they were not audited.

    Args:
        records: The runs.
        audits: By task.

    Returns:
        Sentences in Markdown; empty if there is nothing to say.
    """
    clean: dict[str, list[str]] = {}
    others: dict[str, list[str]] = {}
    unaudited = []
    for name in dict.fromkeys(run.task.name for run in records):
        runs = [run for run in records if run.task.name == name]
        audit = audits.get(name)
        if audit is None or not all(_is_of(audit, run.splits) for run in runs):
            unaudited.append(name)
            continue
        how = (
            f"for shared pictures, pictures that look the same (hashes within {audit.radius} bits) "
            "and shared clusters"
            if audit.opened
            else "for shared pictures and clusters by name, without opening a picture"
        )
        one = _exposed(runs[0], audits)
        found = f"{_of(one)} rows of test" if one and one.rows else "nothing"
        if audit.row_list and any(run.task.row_list == audit.row_list for run in runs):
            found += f", and the list {code(audit.row_list)} leaves out {_left_out(audit)}"
        if found == "nothing":
            clean.setdefault(how, []).append(code(name))
        else:
            others.setdefault(how, []).append(f"in {code(name)} {found}")
    said = []
    for how in dict.fromkeys((*clean, *others)):
        results = [f"in {listed(clean[how])} nothing"] if how in clean else []
        results += others.get(how, [])
        said.append(f"Splits were audited {how}. Found: {'; '.join(results)}.")
    if unknown := [code(name) for name in unaudited if name not in DEFAULT_TASKS]:
        said.append(f"Not audited for leaks: {listed(unknown)}.")
    return " ".join(said)


def _left_out(audit: AuditRecord) -> str:
    """How many rows of each split the lists of an audit are without."""
    rows = {one.split: one.rows for one in audit.splits if one.task == audit.task}
    return listed(
        [
            f"{count(rows[split] - kept)} of {count(rows[split])} rows of {escape(split)}"
            for split, kept in audit.kept.items()
            if kept < rows[split]
        ]
        or ["none"]
    )


def audit_commands(audits: Mapping[str, AuditRecord]) -> Iterator[str]:
    """Command lines that make the audits again."""
    lines: dict[str, None] = {}
    for one in audits.values():
        options = [
            *(["--radius", str(one.radius)] if one.radius != RADIUS else []),
            *([] if one.opened else ["--by-name"]),
            *(["--clean", one.row_list] if one.row_list else []),
        ]
        lines[_line(_audit(sorted(one.tasks)), *options)] = None
    yield from lines


def _audit(tasks: Iterable[str]) -> list[str]:
    """The audit of some tasks, as the parts of a command."""
    return ["audit", *(part for task in tasks for part in ("--task", task_option(task)))]


def _line(parts: Sequence[str], *more: str) -> str:
    return shlex.join(["sdiag", *parts, *more])
