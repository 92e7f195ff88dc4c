"""What a run has saved of itself: its settings, and the steps whose weights can be loaded."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from degradation.errors import ConfigError
from socialfusion.checkpoint import OPTIMISER, checkpoints, read_state
from socialfusion.records import (
    FINAL,
    FusionRecord,
    FusionSettings,
    read_fusion,
    run_folder,
)

__all__ = ["Saved", "SavedRun", "find_run", "open_run"]


@dataclass(frozen=True, slots=True)
class Saved:
    """Weights that a run has saved.

    Attributes:
        folder: Where they lie.
        step: After how many steps; None for the model that was tested.
        rows: Digest of the rows of each question.
        digest: Of what was trained, where the record has it.
    """

    folder: Path
    step: int | None
    rows: dict[str, str]
    digest: str | None = None

    @property
    def name(self) -> str:
        """`step-000500`, or `final`."""
        return FINAL if self.step is None else f"step-{self.step:06d}"


@dataclass(frozen=True, slots=True)
class SavedRun:
    """A run, and those of its steps that are looked at.

    Attributes:
        folder: Of the run.
        settings: What was trained.
        steps: In rising order, the model that was tested last.
    """

    folder: Path
    settings: FusionSettings
    steps: tuple[Saved, ...]

    def check_rows(self, label: str, digest: str) -> None:
        """Check that the rows of a question are those that every step was trained on.

        Args:
            label: Of the question.
            digest: Of its rows, as they are now.

        Raises:
            ConfigError: They are others.
        """
        for one in self.steps:
            if one.rows.get(label) != digest:
                raise ConfigError(
                    f"Expected the rows of {label} that {one.folder} was trained on, but they are "
                    "others now: the cache was extracted anew, or row lists changed. Give the "
                    "cache of the run, or train again."
                )


def find_run(name: str, results: Path) -> Path:
    """Folder of a run, from its path or its name.

    Args:
        name: A folder, or the name of a run below `results`.
        results: Folder of the records.
    """
    return Path(name) if Path(name).is_dir() else run_folder(results, name)


def open_run(folder: Path, steps: Sequence[str], *, adam: bool) -> SavedRun:
    """A run with some of its steps, or all that are saved.

    Where the model that was tested has the weights of a saved step, all are the saved steps alone.

    Args:
        folder: Of the run.
        steps: Numbers, or `final`; empty for all.
        adam: Whether the state of the optimiser is needed, which the tested model does not have.

    Raises:
        ConfigError: There is no run or step; it is not of SocialFusion; a state is not there.
        DataError: The record or a state cannot be read.
    """
    record, saved = read_fusion(folder), checkpoints(folder)
    if record is None and not saved:
        raise ConfigError(
            f"Expected a run of SocialFusion in {folder}, with fusion.json or checkpoints, found "
            "none. Give the folder of a run, as sdiag-results/socialfusion/joint-seed0, or train "
            "one with `sdiag train-socialfusion`."
        )
    settings = None if record is None else record.settings
    if settings is None:
        settings = read_state(saved[max(saved)], None).settings
    if settings.vlm:
        raise ConfigError(
            f"{folder} fine-tuned {settings.language_model}, which has no connector between frozen "
            "parts. Give a run of SocialFusion itself."
        )
    if settings.train_encoder:
        raise ConfigError(
            f"{folder} trained its encoder along, so that its tokens are not those of the cache, "
            "which gradients are measured on here. Give a run without --train-encoder."
        )
    found = []
    for step in _chosen(folder, saved, record, steps, adam=adam):
        if step is None:
            rows = {one.label: one.rows_digest for one in record.questions}
            found.append(Saved(folder / FINAL, None, rows, record.trained.digest))
            continue
        if adam and not (saved[step] / OPTIMISER).is_file():
            raise _stateless(saved[step])
        found.append(Saved(saved[step], step, read_state(saved[step], settings).rows))
    return SavedRun(folder, settings, tuple(found))


def _chosen(
    folder: Path,
    saved: dict[int, Path],
    record: FusionRecord | None,
    steps: Sequence[str],
    *,
    adam: bool,
) -> list[int | None]:
    """The steps asked for, None for the tested model, in rising order."""
    tested = record is not None and (folder / FINAL).is_dir()
    if not steps:
        every: list[int | None] = list(saved)
        if tested and not (saved and adam) and record.trained.step not in saved:
            every.append(None)
        if every == [None] and adam:
            raise _stateless(folder / FINAL)
        if not every:
            raise ConfigError(
                f"Expected saved weights in {folder}, found none, neither checkpoints nor {FINAL}. "
                "Train the run again."
            )
        return every
    there = [*map(str, saved), *([FINAL] if tested else [])]
    wanted = [str(int(one)) if one.isdecimal() else one for one in steps]
    if absent := [one for one in wanted if one not in there]:
        raise ConfigError(
            f"Expected steps that are saved in {folder}, {', '.join(there) or 'none'}, found "
            f"{absent[0]!r}. Name others, or train with --save-every."
        )
    if adam and FINAL in wanted:
        raise _stateless(folder / FINAL)
    numbers: list[int | None] = sorted({int(one) for one in wanted if one != FINAL})
    return [*numbers, None] if FINAL in wanted else numbers


def _stateless(folder: Path) -> ConfigError:
    return ConfigError(
        f"Expected the state of the optimiser in {folder} for the metric of Adam, found none: only "
        "checkpoints on the way have it. Name such steps with --step, or leave --precondition out."
    )
