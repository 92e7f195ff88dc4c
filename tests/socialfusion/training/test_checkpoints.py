"""Folders that are whole or absent, whatever happens while they are written."""

import os
import signal
from pathlib import Path

import pytest
import torch

from degradation.errors import CacheError, DataError, WeightsError
from socialfusion.checkpoint import (
    checkpoints,
    load_optimiser,
    read_state,
    remove_leftovers,
    write_folder,
)
from socialfusion.records import FusionSettings


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fill(text: str):
    return lambda folder: (folder / "state.json").write_text(text)


def test_a_folder_is_replaced_as_a_whole(tmp_path) -> None:
    target = tmp_path / "checkpoint-000002"
    write_folder(target, fill("old"))
    write_folder(target, fill("new"))
    assert (target / "state.json").read_text() == "new"
    assert names(tmp_path) == ["checkpoint-000002"]
    assert checkpoints(tmp_path) == {2: target}


def test_an_error_while_writing_leaves_what_was_there(tmp_path) -> None:
    target = tmp_path / "checkpoint-000002"
    write_folder(target, fill("old"))

    def full(folder: Path) -> None:
        (folder / "state.json").write_text("new")
        raise OSError(28, "No space left on device")

    with pytest.raises(CacheError, match=r"No space left.*Earlier checkpoints are kept"):
        write_folder(target, full)
    assert (target / "state.json").read_text() == "old"
    assert names(tmp_path) == ["checkpoint-000002"]


def killed_while(target: Path, moment: str) -> None:
    """Write the folder in a child process that is killed at a moment."""
    rename, count = os.rename, iter(range(9))

    def write(folder: Path) -> None:
        fill("new")(folder)
        if moment == "writing":
            os.kill(os.getpid(), signal.SIGKILL)

    def renamed(one: Path, two: Path) -> None:
        rename(one, two)
        if next(count) == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    if moment == "renaming":
        os.rename = renamed
    write_folder(target, write)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("moment", ["writing", "renaming"])
def test_a_kill_leaves_the_checkpoint_before(tmp_path, moment) -> None:
    target = tmp_path / "checkpoint-000002"
    write_folder(target, fill("old"))
    child = os.fork()
    if not child:
        try:
            killed_while(target, moment)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    assert names(tmp_path) != ["checkpoint-000002"]
    remove_leftovers(tmp_path)
    assert (target / "state.json").read_text() == "old"
    assert names(tmp_path) == ["checkpoint-000002"]


def test_a_folder_without_a_state_is_no_checkpoint(tmp_path) -> None:
    (tmp_path / "checkpoint-000004").mkdir()
    (tmp_path / "checkpoint-000006.part").mkdir()
    write_folder(tmp_path / "checkpoint-000002", fill("{}"))
    assert list(checkpoints(tmp_path)) == [2]


def test_a_damaged_state_or_moments_are_refused(tmp_path, settings: FusionSettings) -> None:
    folder = tmp_path / "checkpoint-000002"
    write_folder(folder, fill("{"))
    with pytest.raises(DataError, match=r"state.json.*go on from the checkpoint before"):
        read_state(folder, settings)
    parameters = {"a": torch.nn.Parameter(torch.zeros(3))}
    optimiser = torch.optim.AdamW(parameters.values())
    with pytest.raises(WeightsError, match=r"moments in .*cannot be read"):
        load_optimiser(folder, parameters, optimiser)
    (folder / "optimizer.safetensors").write_bytes(b"12345678 no tensors")
    with pytest.raises(WeightsError, match="cannot be read"):
        load_optimiser(folder, parameters, optimiser)


def test_moments_of_other_parameters_are_refused(tmp_path) -> None:
    from safetensors.torch import save_file

    parameters = {"a": torch.nn.Parameter(torch.zeros(3))}
    optimiser = torch.optim.AdamW(parameters.values())
    for shape in ((2,), (3, 1)):
        moments = {f"{name}/a": torch.zeros(shape) for name in ("exp_avg", "exp_avg_sq")}
        save_file(moments | {"step/a": torch.tensor(1.0)}, tmp_path / "optimizer.safetensors")
        with pytest.raises(WeightsError, match="but a does not fit"):
            load_optimiser(tmp_path, parameters, optimiser)
