"""Records of trained models off the disk: SocialFusion runs, transfer and ablations.

They lie in `<results>/socialfusion/<run>/`, `<results>/transfer/<name>.json` and
`<results>/ablations/<name>.json`. What was made from other predictions than those of the run of
that name is left out and named; a run without a record did not finish, and is named, too.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from degradation.errors import DataError
from reports.markdown import code, escape
from socialfusion.records import RECORD, FusionRecord, read_fusion, read_fusion_predictions
from socialfusion.transfer.records import (
    AblationRecord,
    RunCard,
    TransferRecord,
    read_ablation,
    read_transfer,
)

__all__ = ["Trainings", "incomplete_trainings", "load_trainings"]

AnyComparison = TypeVar("AnyComparison", TransferRecord, AblationRecord)


@dataclass(frozen=True, slots=True)
class Trainings:
    """All that is told of trained models.

    Attributes:
        runs: By name, sorted.
        transfers: Joint against single training, by name.
        ablations: One setting changed, by name.
        unfinished: Names of runs without a record.
        left_out: Why a transfer or an ablation is not told, by its command and name.
        folders: Where each run lies, by name.
    """

    runs: dict[str, FusionRecord] = field(default_factory=dict)
    transfers: tuple[TransferRecord, ...] = ()
    ablations: tuple[AblationRecord, ...] = ()
    unfinished: tuple[str, ...] = ()
    left_out: dict[tuple[str, str], str] = field(default_factory=dict)
    folders: dict[str, Path] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self.runs or self.transfers or self.ablations)

    def runs_of(self, cards: Sequence[RunCard]) -> tuple[FusionRecord, ...]:
        """The records of those runs that are here."""
        return tuple(self.runs[card.run] for card in cards if card.run in self.runs)


def load_trainings(results: Path) -> Trainings:
    """All records of trained models below a results folder, each checked.

    Args:
        results: A results folder, or the folder of one trained model; that of a pair has none of
            these.

    Raises:
        DataError: A record cannot be read, is of another schema or under another name than its
            own, or the predictions of a run are missing or were changed.
    """
    runs: dict[str, FusionRecord] = {}
    folders: dict[str, Path] = {}
    unfinished = []
    alone = (results / RECORD).exists()
    for folder in [results] if alone else _visible(results / "socialfusion", "*"):
        if not folder.is_dir():
            continue
        record = read_fusion(folder)
        if record is None:
            # Its folder may hold gradient conflict of a run whose record was moved elsewhere.
            if any(folder.glob("checkpoint-*")):
                unfinished.append(folder.name)
            continue
        if not alone:
            _check_name(record.run, folder.name, folder)
        read_fusion_predictions(folder, record)
        runs[record.run], folders[record.run] = record, folder
    left_out: dict[tuple[str, str], str] = {}
    return Trainings(
        runs=runs,
        transfers=tuple(_told(results / "transfer", read_transfer, "transfer", runs, left_out)),
        ablations=tuple(_told(results / "ablations", read_ablation, "ablate", runs, left_out)),
        unfinished=tuple(unfinished),
        left_out=left_out,
        folders=folders,
    )


def incomplete_trainings(found: Trainings) -> Iterator[str]:
    """What a reader should know is missing, one sentence in Markdown each."""
    if found.unfinished:
        names, first = ", ".join(map(code, found.unfinished)), found.unfinished[0]
        again = code(f"sdiag train-socialfusion --run {first}")
        yield (
            f"{names} {'have' if len(found.unfinished) > 1 else 'has'} checkpoints but no record: "
            f"training did not finish. Run {again} again, or the command that trained it, and it "
            "goes on."
        )
    for (command, name), reason in found.left_out.items():
        yield (
            f"{code(name)} of {code(f'sdiag {command}')} is left out, for it {reason}; run "
            f"{code(f'sdiag {command}')} again."
        )
    if found.runs and not found.transfers and not found.ablations:
        tasks = {record.settings.tasks for record in found.runs.values()}
        alone, together = (sum((len(one) > 1) == many for one in tasks) for many in (False, True))
        if not alone:
            said = "SocialFusion was trained on tasks together, and on none of them alone"
        elif not together:
            said = "SocialFusion was trained on each task alone, and on none together"
        else:
            said = "SocialFusion was trained on tasks alone and together"
        yield f"{said}: {code('sdiag transfer')} compares the two."
    for one in (*found.transfers, *found.ablations):
        absent = {card.run for card in _cards(one)} - found.runs.keys()
        if absent:
            yield (
                f"{code(one.name)} was made from {len(absent)} run{'s' * (len(absent) > 1)} that "
                "these results lack: curves, chance and proof of frozen parts are missing for "
                f"{'them' if len(absent) > 1 else 'it'}."
            )


def _told(
    folder: Path,
    read: Callable[[Path], AnyComparison],
    command: str,
    runs: dict[str, FusionRecord],
    left_out: dict[tuple[str, str], str],
) -> Iterator[AnyComparison]:
    """The comparisons that belong to the runs; of others, the reason is noted."""
    for path in _visible(folder, "*.json"):
        record = read(path)
        _check_name(record.name, path.stem, path)
        other = [
            card.run
            for card in _cards(record)
            if card.run in runs and card.predictions_sha256 != runs[card.run].predictions_sha256
        ]
        if other:
            left_out[command, record.name] = (
                f"was made from other predictions than those of the run {escape(other[0])}"
            )
        else:
            yield record


def _cards(record: TransferRecord | AblationRecord) -> tuple[RunCard, ...]:
    """All runs behind a comparison."""
    if isinstance(record, TransferRecord):
        return tuple(card for variant in record.variants for card in variant.runs)
    return (*record.runs, *(card for one in record.ablated for card in one.runs))


def _visible(folder: Path, pattern: str) -> list[Path]:
    """What matches in a folder, sorted; hidden names are of what is still being written."""
    return [path for path in sorted(folder.glob(pattern)) if not path.name.startswith(".")]


def _check_name(own: str, found: str, path: Path) -> None:
    """Refuse a record under another name than its own."""
    if own != found:
        raise DataError(
            f"Expected the record of {own!r} under its own name, found it in {path}. Name it back, "
            "or move it out of the results."
        )
