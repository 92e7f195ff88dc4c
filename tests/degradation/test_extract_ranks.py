"""Two processes over gloo fill the same cache as one, and fail together.

The file is test and subject: two processes run it as a script, go through all scenes together and
print what happened.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from degradation.ranks import ALONE, Ranks, joined

N, SIDE = 40, 16


def extract_small(root, ranks, *, broken=(), size=None, die=False):
    """One small extraction; every picture in `broken` cannot be opened."""
    import numpy as np
    import torch
    from PIL import Image

    from degradation.encoders.encoder import BlockTokens, EncoderInfo
    from degradation.encoders.pair import Pair
    from degradation.errors import DataError
    from degradation.extract import extract
    from degradation.tasks.task import Rows, Task, TaskSpec

    names = np.array([f"p{i}" for i in range(N)], dtype=object)
    rows = Rows(
        ids=names,
        pictures=names[:, None],
        boxes={"face": np.tile(np.array([0.1, 0.2, 0.6, 0.9], dtype=np.float32), (N, 1, 1))},
        labels={"odd": np.arange(N) % 2},
        points=np.zeros((N, 0, 2), dtype=np.float32),
        clusters=names,
    )
    spec = TaskSpec(
        "shared", "classes", True, {"odd": ("no", "yes")}, ("face",), ("image", "face"),
        {"odd": ("accuracy",)}, "picture", "this test",
    )  # fmt: skip

    def see(reference):
        if reference in broken:
            raise DataError(f"Expected a picture at {reference}, found nothing.")
        rng = np.random.default_rng(int(reference[1:]))
        return Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))

    class Fake:
        def __init__(self, name, seed):
            self.info = EncoderInfo(name, name, 2, 4, SIDE, 8, 0, (0.0,) * 3, (1.0,) * 3)
            self.map = torch.randn(192, 4, generator=torch.Generator().manual_seed(seed))

        def __call__(self, pixels, blocks):
            if die:
                os._exit(9)
            unfolded = torch.nn.functional.unfold(pixels.float() / 255, 8, stride=8)
            tokens = unfolded.transpose(1, 2) @ self.map
            return {block: BlockTokens(tokens + block, tokens[:, :0]) for block in blocks}

    return extract(
        Task(spec, ("all",), lambda split: rows, see),
        "all",
        Pair("shared", "a", "b", "none", "this test"),
        Fake("a", 1),
        Fake("b", 2),
        root=root,
        size=size,
        batch_size=2,
        shard_rows=4,
        token_blocks=[1],
        ranks=ranks,
        progress=False,
        random=Fake("random:a", 3),
    )


def files(root):
    """Bytes of all files below `root`, but for the locks."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != "lock"
    }


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """What both processes say, and the folder in which they worked."""
    folder = tmp_path_factory.mktemp("ranks")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    source = str(Path(__file__).parents[2])
    common = {
        "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1", "PYTHONPATH": source,
    }  # fmt: skip
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, str(folder)],
            cwd=source,
            env=os.environ | common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=120) for process in processes]
    assert processes[0].returncode == 0, said[0][1]
    assert processes[1].returncode == 9, said[1][1]  # it dies in the last scene, on purpose
    return folder, [[json.loads(line) for line in out.splitlines()] for out, _ in said]


def test_two_processes_write_what_one_writes(outcome):
    folder, (first, second) = outcome
    alone = extract_small(folder / "alone", ALONE)
    assert files(folder / "alone") == files(folder / "together")
    assert len([name for name in files(folder / "alone") if "shard-" in name]) == 4 * 10
    assert first[0]["entry"] == second[0]["entry"] == alone.entry.pre
    assert (first[0]["images"], second[0]["images"]) == (N, N)
    assert first[0]["own"] == [0, 2, 4, 6, 8]
    assert second[0]["own"] == [1, 3, 5, 7, 9]


def test_two_processes_go_on_where_others_stopped(outcome):
    folder, (first, second) = outcome
    assert files(folder / "resumed") == files(folder / "together")
    assert (first[1]["own"], second[1]["own"]) == ([2, 7], [5])
    assert (first[1]["images"], first[1]["skipped"]) == (3 * 4, 40 - 9)


def test_a_mistake_of_one_is_told_to_both(outcome):
    folder, (first, second) = outcome
    assert first[2] == second[2]
    assert first[2]["error"] == "DataError"
    assert "22 of 40" in first[2]["message"]
    assert not [name for name in files(folder / "broken") if "shard-" in name]
    assert first[3] == second[3]
    assert first[3]["error"] == "ConfigError"
    assert "must extract the same" in first[3]["message"]


def test_the_loss_of_a_process_ends_the_others(outcome):
    folder, (first, second) = outcome
    assert len(second) == len(first) - 1
    assert first[-1]["error"] == "CacheError"
    assert "lost another one" in first[-1]["message"]
    # What the surviving process finished is kept.
    assert len([name for name in files(folder / "lost") if "shard-" in name]) == 4 * 5


def test_a_process_alone_needs_nobody():
    assert ALONE.exchange(3) == [3]
    assert ALONE.once(lambda: 4) == 4
    assert list(ALONE.share(range(5))) == [0, 1, 2, 3, 4]
    assert ALONE.device("cuda") == "cuda"


def test_shares_are_disjoint_and_complete():
    shares = [list(Ranks(rank, 3).share(range(10))) for rank in range(3)]
    assert sorted(item for share in shares for item in share) == list(range(10))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_each_process_has_its_own_gpu():
    assert Ranks(rank=5, count=8, local=1).device("cuda") == "cuda:1"
    assert Ranks(rank=5, count=8, local=1).device("cuda:3") == "cuda:3"
    assert Ranks(rank=5, count=8, local=1).device("cpu") == "cpu"


def test_several_processes_without_a_launcher(monkeypatch):
    from degradation.errors import ConfigError

    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match=r"WORLD_SIZE is 2.*torchrun"), joined():
        pass


def damage(source, target):
    """A copy of a cache whose indices, shards 2 and 5, and one shard 7 are missing."""
    shutil.copytree(source, target)
    for pattern in ("index.h5", "shard-00002-*", "shard-00005-*"):
        for path in target.rglob(pattern):
            path.unlink()
    sorted(target.rglob("shard-00007-*"))[0].unlink()


def main(folder):
    """All scenes in order; one line of JSON for each."""
    from degradation.cache import Store
    from degradation.errors import SdiagError

    written = []
    write = Store.write

    def counting(store, shard):
        written.append(shard.number)
        write(store, shard)

    Store.write = counting

    def scene(root, **options):
        written.clear()
        try:
            report = extract_small(folder / root, ranks, **options)
        except SdiagError as error:
            line = {"error": type(error).__name__, "message": str(error)}
        else:
            line = {
                "entry": report.entry.pre,
                "images": report.images,
                "skipped": report.skipped_shards,
                "own": sorted(set(written)),
            }
        sys.stdout.write(json.dumps(line) + "\n")

    with joined() as ranks:
        scene("together")
        ranks.once(lambda: damage(folder / "together", folder / "resumed"))
        scene("resumed")
        scene("broken", broken={f"p{i}" for i in range(22)})
        scene("unlike", size=SIDE // (1 + ranks.rank))
        scene("lost", die=ranks.rank == 1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
