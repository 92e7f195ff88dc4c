"""Training every run that a comparison needs, and none twice.

What is complete on disk is not trained again, so an interrupted sweep is started anew with the same
command and goes on where it stopped.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

from tqdm import tqdm

from degradation.errors import DataError
from socialfusion.records import FusionRecord, FusionSettings, read_fusion, run_folder
from socialfusion.transfer.plan import PlannedRun

__all__ = ["Check", "Trainer", "sweep"]

Trainer = Callable[[str, FusionSettings], None]
"""Trains and evaluates a run of this name, from its last checkpoint if there is one, and writes its
record. It raises where it is interrupted."""


Check = Callable[[FusionRecord], None]
"""Raises where a run that is complete is not one of the data that there are now."""


def sweep(
    runs: Iterable[PlannedRun],
    train: Trainer,
    *,
    results: Path,
    check: Check | None = None,
    progress: bool = True,
) -> dict[str, FusionRecord]:
    """The records of all runs, after training those that are not complete.

    Seed after seed, so that an early end leaves whole comparisons.

    Args:
        runs: Equal ones are trained once.
        train: Called for those that have no record.
        results: Folder of the records.
        check: Called with the record of each run that was complete before.
        progress: Show a bar on stderr.

    Returns:
        By name of the run.

    Raises:
        DataError: A record cannot be read, is of other settings, or was not written.
    """
    distinct = list({run.name: run for run in runs}.values())
    distinct.sort(key=lambda run: (run.settings.seed, len(run.settings.tasks)))
    found = {}
    with tqdm(distinct, desc="runs", unit="run", disable=not progress) as bar:
        for run in bar:
            bar.set_postfix_str(run.name)
            record = _record(run, results)
            if record is not None and check is not None:
                check(record)
            if record is None:
                train(run.name, run.settings)
                record = _record(run, results)
            if record is None:
                raise DataError(
                    f"Expected the record of {run.name} in {run_folder(results, run.name)} after "
                    "its training, found none: it was stopped. Run the same command again; it goes "
                    "on from the last checkpoint."
                )
            found[run.name] = record
    return found


def _record(run: PlannedRun, results: Path) -> FusionRecord | None:
    """The record of a run; None where it is not complete."""
    folder = run_folder(results, run.name)
    record = read_fusion(folder)
    if record is not None and record.settings != run.settings:
        names = [
            name
            for name in FusionSettings.model_fields
            if getattr(record.settings, name) != getattr(run.settings, name)
        ]
        raise DataError(
            f"Expected a run of the settings asked for in {folder}, found one with other "
            f"{', '.join(names)}. Move it away and run the same command again."
        )
    return record
