"""Every command that a page shows is run, in the order of the pages, in a small world.

What differs from the page stands in `IN_PLACE` and `APPENDED`; `small_world` says how the world is
small, `stand_ins` what lies in the reader's folder.
"""

import multiprocessing
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import small_world
from page_commands import PAGES, ROOT, shown
from stand_ins import lay_out

IN_PLACE = {
    r"--device cuda(:\d)?": "--device cpu",
    r"/data/": "data/",
    r"^accelerate launch( --multi_gpu)? --num_processes \d+": (
        "accelerate launch --multi_gpu --num_processes 2 --main_process_port 0"
    ),
    r"^torchrun --nproc-per-node \d+": "torchrun --nproc-per-node 2",
    r"-m sdiag\b": "-m small_world",
    r"--step 50 --step 200": "--step 1 --step 2",
}
"""What is run in place of what is shown: this machine has no GPU, and trains for two steps."""
APPENDED = {
    "train-socialfusion": "--steps 2 --save-every 1",
    "transfer": "--steps 2 --seeds 1",
    "ablate": "--steps 2 --seeds 1",
    "gcd": "--batches 4",
}
"""Added to a command: an option that is given twice counts as it was given last."""
EXCUSED = {
    "make demo": "installs the package, then runs commands that are run here",
    "make test": "would run this test",
}
"""Commands that are not run, and why."""


def once() -> dict[str, list[str]]:
    """The commands by the page that shows them first."""
    seen = set()
    pages = {}
    for page in PAGES:
        new = [line for line in dict.fromkeys(shown(page)) if line not in seen]
        seen.update(new)
        if new:
            pages[page.name] = new
    return pages


COMMANDS = once()
ALL = [line for lines in COMMANDS.values() for line in lines]


def as_run(line: str) -> str:
    """What is run for a command that is shown."""
    for pattern, replacement in IN_PLACE.items():
        line = re.sub(pattern, replacement, line)
    words = re.sub(r"^.*-m small_world|^sdiag", "", line).split()
    return f"{line} {APPENDED[words[0]]}" if words and words[0] in APPENDED else line


def test_there_are_commands_to_run():
    assert len(ALL) - len(EXCUSED) > 60
    assert {"sdiag extract", "sdiag probe", "sdiag report"} <= set(ALL)


def test_what_is_excused_or_replaced_is_still_shown():
    assert set(EXCUSED) <= set(ALL)
    assert all(any(re.search(pattern, line) for line in ALL) for pattern in IN_PLACE)
    assert all(any(f" {name}" in line for line in ALL) for name in APPENDED)


@dataclass(frozen=True)
class Sandbox:
    """A folder to run commands in, and the processes to run them.

    A process that only runs sdiag is forked from one in which it has been imported.
    """

    folder: Path
    said: Path

    def run(self, line: str) -> int:
        """The exit code; what was said is in `said`."""
        words = shlex.split(line)
        if words[0] != "sdiag":
            with self.said.open("wb") as said:
                return subprocess.run(
                    words, cwd=self.folder, stdout=said, stderr=said, timeout=300, check=False
                ).returncode
        process = multiprocessing.get_context("forkserver").Process(
            target=small_world.run, args=(words[1:], self.folder, self.said)
        )
        process.start()
        process.join()
        return process.exitcode


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory):
    place = tmp_path_factory.mktemp("pages")
    folder, home = place / "reader", place / "home"
    folder.mkdir()
    lay_out(folder, home / "hub")
    modules = [*(ROOT / "tests" / name for name in ("pages", "degradation/families")), ROOT]
    with pytest.MonkeyPatch.context() as changed, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        for name in (one for one in os.environ if one.startswith(("ACCELERATE_", "MASTER_"))):
            changed.delenv(name)
        changed.delenv("PYTHONWARNINGS", raising=False)
        for name, value in {
            "HF_HOME": home,
            "HF_HUB_OFFLINE": 1,
            "SDIAG_WEIGHTS": "data/models",
            "OMP_NUM_THREADS": 1,
            "MPLBACKEND": "agg",
            "GLOO_SOCKET_IFNAME": "lo",
            "PET_MASTER_PORT": free.getsockname()[1],
            "PYTHONPATH": os.pathsep.join(map(str, modules)),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }.items():
            changed.setenv(name, str(value))
        free.close()
        multiprocessing.get_context("forkserver").set_forkserver_preload(["small_world"])
        sandbox = Sandbox(folder, place / "said")
        for line in ("extract --token-block 2", "probe", "train-socialfusion"):
            assert sandbox.run(as_run(f"sdiag {line}")) == 0, sandbox.said.read_text()
        shutil.copytree(folder / "sdiag-results", folder / "yesterday")
        yield sandbox


@pytest.mark.slow
@pytest.mark.parametrize("page", COMMANDS)
def test_every_command_of_a_page_runs(page, sandbox):
    failed = []
    for line in COMMANDS[page]:
        if line in EXCUSED:
            continue
        if code := sandbox.run(as_run(line)):
            failed.append(
                f"{line}\n{as_run(line)}\nended with {code}: {sandbox.said.read_text()[-600:]}"
            )
    assert not failed, "\n\n".join(failed)
