"""Reading the vision tower out of a 4 GB checkpoint: memory, bytes and time.

    python tests/benchmarks/checkpoint_memory.py

Writes checkpoints of 4 GB into a temporary folder (the language model is a hole in the file, the
tower is random), reads the tower of 0.6 GB in a process of its own, and removes everything. The
goal is a peak of at most 200 MB beyond the tower itself, from a safetensors file, from a PyTorch
file, and from a hub on this machine.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

GOAL = 200.0  # MB
SIDE = 1024
COMMIT = "a" * 40
TOWER = [f"visual.blocks.{i}.weight" for i in range(290)]  # of 2 MB: one side squared, bfloat16
LANGUAGE = [f"model.layers.{i}.weight" for i in range(1700)]


def write_safetensors(path: Path) -> None:
    """A file in the order that libraries write, of which the tower stands in the middle."""
    entries, size = {}, 2 * SIDE * SIDE
    for i, name in enumerate([*LANGUAGE[:800], *TOWER, *LANGUAGE[800:]]):
        span = [i * size, (i + 1) * size]
        entries[name] = {"dtype": "BF16", "shape": [SIDE, SIDE], "data_offsets": span}
    text = json.dumps(entries).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.seek(800 * size, os.SEEK_CUR)
        for _ in TOWER:
            file.write(os.urandom(size))
        file.truncate(8 + len(text) + len(entries) * size)


def write_torch(path: Path) -> None:
    """The same as a file of torch.save."""
    import torch

    state = {name: torch.zeros(SIDE, SIDE, dtype=torch.bfloat16) for name in LANGUAGE}
    generator = torch.Generator().manual_seed(0)
    for name in TOWER:
        state[name] = torch.randn(SIDE, SIDE, generator=generator).bfloat16()
    torch.save(state, path)


def read(reference: str) -> None:
    """Read the tower in this process; prints what it took as JSON."""
    from degradation.encoders.checkpoint import open_checkpoint

    with open("/proc/self/statm") as file:
        before = int(file.read().split()[1]) * resource.getpagesize()
    start = time.perf_counter()
    checkpoint = open_checkpoint(reference, prefixes=["visual.", "model.visual."])
    opened = time.perf_counter()
    state = checkpoint.read(list(checkpoint.tensors))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    tower = sum(tensor.nbytes for tensor in state.values())
    seconds = [round(opened - start, 2), round(time.perf_counter() - opened, 2)]
    print(json.dumps({"before": before, "peak": peak, "tower": tower, "seconds": seconds}))


class Hub(BaseHTTPRequestHandler):
    """Byte ranges of the files in `folder`."""

    protocol_version = "HTTP/1.1"
    folder: Path
    sent = 0

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        """What the file is."""
        self.do_GET()

    def do_GET(self) -> None:
        """A file or a range of it."""
        path = self.folder / self.path.rpartition("/")[2]
        if not path.is_file():
            self.answer(404, 0, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
            return
        size = path.stat().st_size
        facts = {"ETag": f'"{path.name}"', "X-Repo-Commit": COMMIT}
        start, stop = 0, size
        if "Range" in self.headers:
            first, last = self.headers["Range"].removeprefix("bytes=").split("-")
            start, stop = int(first), int(last) + 1
            facts["Content-Range"] = f"bytes {first}-{last}/{size}"
        self.answer(206 if "Range" in self.headers else 200, stop - start, facts)
        if self.command == "GET":
            with path.open("rb") as file:
                self.wfile.flush()
                while start < stop:
                    count = os.sendfile(
                        self.connection.fileno(), file.fileno(), start, stop - start
                    )
                    start += count
                    Hub.sent += count

    def answer(self, status: int, size: int, headers: dict[str, str]) -> None:
        """Status line and headers."""
        self.send_response(status)
        for key, value in (headers | {"Content-Length": str(size)}).items():
            self.send_header(key, value)
        self.end_headers()


def measure(title: str, reference: str, **environment: str) -> bool:
    """Read in a process of its own and print a line; whether the goal was met."""
    command = [sys.executable, __file__, "--read", reference]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env=os.environ | environment
    )
    found = json.loads(done.stdout)
    beyond = (found["peak"] - found["before"] - found["tower"]) / 1e6
    opened, seconds = found["seconds"]
    print(
        f"{title:28s} tower {found['tower'] / 1e6:5.0f} MB, before {found['before'] / 1e6:4.0f} MB,"
        f" peak {found['peak'] / 1e6:5.0f} MB: {beyond:4.0f} MB beyond; opened in {opened:.2f} s,"
        f" read in {seconds:.2f} s",
        flush=True,
    )
    return beyond <= GOAL


def main() -> None:
    """Measure all three ways; exit 1 if one misses the goal."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--read", help=argparse.SUPPRESS)
    parser.add_argument("--write-torch", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.read:
        read(arguments.read)
        return
    if arguments.write_torch:
        write_torch(Path(arguments.write_torch))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "checkpoint"
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        write_safetensors(folder / "model.safetensors")
        size = (folder / "model.safetensors").stat().st_size
        print(f"one file of {size / 1e9:.2f} GB")
        met = [measure("safetensors, folder", str(folder))]

        Hub.folder = folder
        server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        place = {
            "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
            "HF_HOME": str(Path(name) / "home"),
            "NO_PROXY": "127.0.0.1",
        }
        met.append(measure("safetensors, hub", "Org/Model", **place))
        print(f"{'':28s} the hub sent {Hub.sent / 1e6:.0f} MB")
        sent = Hub.sent
        met.append(measure("safetensors, hub, offline", "Org/Model", HF_HUB_OFFLINE="1", **place))
        assert Hub.sent == sent
        server.shutdown()

        (folder / "model.safetensors").unlink()
        path = folder / "pytorch_model.bin"
        subprocess.run([sys.executable, __file__, "--write-torch", str(path)], check=True)
        met.append(measure("PyTorch, folder", str(folder)))
    sys.exit(not all(met))


if __name__ == "__main__":
    main()
