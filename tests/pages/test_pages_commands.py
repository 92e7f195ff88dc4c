"""Every command that a page shows is run, in the order of the pages, in a small world.

A page finds what the pages before it left.
What differs from the page stands in `IN_PLACE` and `APPENDED`; `small_world` says how the world is
small, `stand_ins` what lies in the reader's folder.
"""

import multiprocessing
import os
import re
import shlex
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from page_commands import PAGES, ROOT, shown

IN_PLACE = {
    r"--device cuda(:\d)?": "--device cpu",
    r"/data/": "data/",
    r"^accelerate launch( --multi_gpu)? --num_processes \d+": (
        "accelerate launch --multi_gpu --num_processes 2 --main_process_port 0"
    ),
    r"^torchrun --nproc-per-node \d+": "torchrun --nproc-per-node 2",
    r"-m sdiag\b": "-m small_world",
    r"--token-block 31": "--token-block 1",
    r"--step 50 --step 200": "--step 1 --step 2",
}
"""What is run in place of what is shown: no GPU, two steps, and encoders of a few blocks."""
APPENDED = {
    "diagnose": "--task scenes-expression",
    "train-socialfusion": "--steps 2 --save-every 1",
    "transfer": "--steps 2 --seeds 1",
    "ablate": "--steps 2 --seeds 1",
    "gcd": "--batches 4",
    "study": "--device cpu",
}
"""Added to a command: an option that is given twice counts as it was given last."""
EXCUSED = {
    "make demo": "installs the package, then runs commands that are run here",
    "make test": "would run this test",
    "make test-all": "would run this test",
    "sdiag study three-families --task hagrid=HaGRID/ --task affectnet=AffectNet/"
    " --cache /data/cache": (
        "takes ten minutes, and ends with an error for each data set that has no folder; its dry "
        "run and the whole of a smaller study are run"
    ),
}
"""Commands that are not run, and why."""


COMMANDS = {page.name: list(dict.fromkeys(shown(page))) for page in PAGES if shown(page)}
ALL = {line for lines in COMMANDS.values() for line in lines}


def as_run(line: str) -> str:
    """What is run for a command that is shown."""
    for pattern, replacement in IN_PLACE.items():
        line = re.sub(pattern, replacement, line)
    words = re.sub(r"^.*-m small_world|^sdiag", "", line).split()
    return f"{line} {APPENDED[words[0]]}" if words and words[0] in APPENDED else line


def test_there_are_commands_to_run():
    assert len(ALL) - len(EXCUSED) > 60
    assert {"sdiag extract", "sdiag probe", "sdiag report"} <= ALL


def test_what_is_excused_or_replaced_is_still_shown():
    assert EXCUSED.keys() <= ALL
    assert all(any(re.search(pattern, line) for line in ALL) for pattern in IN_PLACE)
    assert all(any(f" {name}" in line for line in ALL) for name in APPENDED)


SLOW = [
    "small_world", "degradation.extract", "probes.run", "reports.report", "sdiag.study.run",
    "socialfusion.run", "transformers.models.clip",
]  # fmt: skip
"""Imported once, in the process that all commands of `sdiag` are forked from."""


@dataclass(frozen=True)
class Sandbox:
    """A folder to run commands in, and the file that they write to."""

    folder: Path
    output: Path

    def run(self, line: str) -> int:
        """The exit code of a command."""
        words = shlex.split(line)
        if words[0] == "sdiag":
            import small_world

            process = multiprocessing.get_context("forkserver").Process(
                target=small_world.run, args=(words[1:], self.folder, self.output)
            )
            process.start()
            process.join()
            return process.exitcode
        with self.output.open("wb") as file:
            return subprocess.run(
                words, cwd=self.folder, stdout=file, stderr=file, check=False
            ).returncode

    @property
    def said(self) -> str:
        """The end of what the last command wrote."""
        return self.output.read_text(errors="replace")[-2000:]


def surroundings(home: Path) -> dict[str, object]:
    """Environment variables: no network, and launchers that find each other and what they start."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    modules = (ROOT, ROOT / "tests" / "pages", ROOT / "tests" / "degradation" / "families")
    return {
        "HF_HOME": home,
        "HF_HUB_OFFLINE": 1,
        "SDIAG_WEIGHTS": "data/models",
        "OMP_NUM_THREADS": 1,
        "MPLBACKEND": "agg",
        "GLOO_SOCKET_IFNAME": "lo",
        "PET_MASTER_PORT": port,
        "PYTHONPATH": os.pathsep.join(map(str, modules)),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory):
    from stand_ins import lay_out

    place = tmp_path_factory.mktemp("pages")
    folder, home = place / "reader", place / "home"
    lay_out(folder, home / "hub")
    with pytest.MonkeyPatch.context() as changed:
        for name in [one for one in os.environ if one.startswith(("ACCELERATE_", "MASTER_"))]:
            changed.delenv(name)
        for name, value in surroundings(home).items():
            changed.setenv(name, str(value))
        multiprocessing.get_context("forkserver").set_forkserver_preload(SLOW)
        sandbox = Sandbox(folder, place / "said.txt")
        for line in ("extract --task scenes-expression", "probe --results yesterday"):
            assert sandbox.run(f"sdiag {line}") == 0, sandbox.said
        yield sandbox


@pytest.mark.slow
@pytest.mark.parametrize("page", COMMANDS)
def test_every_command_of_a_page_runs(page, sandbox):
    to_run = [line for line in COMMANDS[page] if line not in EXCUSED]
    failed = [
        f"{line}\n{as_run(line)}\nended with {code}: {sandbox.said}"
        for line in to_run
        if (code := sandbox.run(as_run(line)))
    ]
    assert not failed, "\n\n".join(failed)
