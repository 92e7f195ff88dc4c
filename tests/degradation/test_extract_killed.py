"""Killed at any moment and run again, an extraction gives the very same files.

The file is test and subject: run as a script, it forks one extraction after another from a process
that has imported everything once, kills each after a random delay and runs it again.
"""

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from importlib import import_module
from pathlib import Path

KILLS = 20


def files(root):
    """Bytes of all files below `root`, but for the locks."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != "lock"
    }


def test_killed_at_random_moments_the_cache_is_the_same(tmp_path):
    done = subprocess.run(
        [sys.executable, __file__, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    expected = files(tmp_path / "undisturbed")
    assert len([name for name in expected if "shard-" in name]) == 3 * 10
    assert len(outcome["kills"]) == KILLS
    # The kills must have met extractions at work: at several stages, not all at one.
    assert len({kill["files"] for kill in outcome["kills"]}) >= 5
    for name in outcome["roots"]:
        assert files(tmp_path / name) == expected


def extract_slowly(root):
    """One small extraction, with a pause in front of each picture."""
    import numpy as np
    import torch
    from PIL import Image

    from degradation.encoders.encoder import BlockTokens, EncoderInfo
    from degradation.encoders.pair import Pair
    from degradation.extract import extract
    from degradation.tasks.task import Rows, Task, TaskSpec

    n, side = 40, 16
    names = np.array([f"p{i}" for i in range(n)], dtype=object)
    rows = Rows(
        ids=names,
        pictures=names[:, None],
        boxes={"face": np.tile(np.array([0.1, 0.2, 0.6, 0.9], dtype=np.float32), (n, 1, 1))},
        labels={"odd": np.arange(n) % 2},
        points=np.zeros((n, 0, 2), dtype=np.float32),
        clusters=names,
    )
    spec = TaskSpec(
        "killed", "classes", True, {"odd": ("no", "yes")}, ("face",), ("image", "face"),
        {"odd": ("accuracy",)}, "picture", "this test",
    )  # fmt: skip

    def see(reference):
        time.sleep(0.005)
        rng = np.random.default_rng(int(reference[1:]))
        return Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8))

    class Fake:
        def __init__(self, name, seed):
            self.info = EncoderInfo(name, name, 2, 4, side, 8, 0, (0.0,) * 3, (1.0,) * 3)
            self.map = torch.randn(192, 4, generator=torch.Generator().manual_seed(seed))

        def __call__(self, pixels, blocks):
            unfolded = torch.nn.functional.unfold(pixels.float() / 255, 8, stride=8)
            tokens = unfolded.transpose(1, 2) @ self.map
            return {block: BlockTokens(tokens + block, tokens[:, :0]) for block in blocks}

    extract(
        Task(spec, ("all",), lambda split: rows, see),
        "all",
        Pair("killed", "a", "b", "none", "this test"),
        Fake("a", 1),
        Fake("b", 2),
        root=root,
        batch_size=2,
        shard_rows=4,
        token_blocks=[1],
        progress=False,
    )


def forked(root):
    """Process id of a fork that extracts into `root`."""
    if child := os.fork():
        return child
    try:
        extract_slowly(root)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def main(folder):
    import numpy as np

    import_module("degradation.extract")  # once, before forking

    started = time.monotonic()
    if os.waitpid(forked(folder / "undisturbed"), 0)[1]:
        raise SystemExit("The undisturbed extraction failed.")
    seconds = time.monotonic() - started
    rng = np.random.default_rng(7)
    kills, roots = [], ["killed 0"]
    while len(kills) < KILLS:
        child = forked(folder / roots[-1])
        time.sleep(rng.uniform(0, 0.4 * seconds))
        os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        if os.WIFSIGNALED(status):
            kills.append({"files": len(list((folder / roots[-1]).rglob("*")))})
        elif status:
            raise SystemExit("An extraction failed instead of going on.")
        else:  # complete before the blow: start afresh
            roots.append(f"killed {len(roots)}")
    if os.waitpid(forked(folder / roots[-1]), 0)[1]:
        raise SystemExit("The last extraction failed.")
    json.dump({"kills": kills, "roots": roots, "seconds": seconds}, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
