"""A hub on this machine: repositories, redirects to a second host, byte ranges, and faults."""

import hashlib
import json
import sys
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save

MAIN = "a" * 40
OLD = "b" * 40
LARGE = (".safetensors", ".bin")
PIECE = 16 * 1024  # bytes that a paced hub sends at once


@dataclass
class Repo:
    commits: dict[str, dict[str, bytes]]  # commit: file: content
    refs: dict[str, str] = field(default_factory=lambda: {"main": MAIN})
    error: tuple[int, str] | None = None  # status and X-Error-Code for every request


@dataclass
class Request:
    method: str
    host: str
    name: str
    span: tuple[int, int] | None
    authorised: bool


class Server(ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        """Complain, unless a client merely left in the middle of an answer."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class StandInHub:
    """What the tests say to the server: repositories, and faults of the coming large answers.

    A fault is "503", "429 N" (to be asked again after N seconds), "cut N" (N bytes, then the
    connection breaks), "hang N" (N bytes, then silence), "whole" (no ranges), "empty", "etag"
    (another version) or "size" (another length). They happen to the next GETs of large files, one
    each; "ok" lets one pass. With `pace`, byte ranges are sent in pieces, after each of which it is
    called with the number of bytes sent so far, over all requests.
    """

    def __init__(self):
        self.repos: dict[str, Repo] = {}
        self.faults: deque[str] = deque()
        self.requests: list[Request] = []
        self.released = threading.Event()
        self.pace: Callable[[int], None] | None = None
        self.sent = 0
        self.server = Server(("127.0.0.1", 0), handler(self))
        self.port = self.server.server_port
        self.endpoint = f"http://127.0.0.1:{self.port}"
        # The real hub sends large files from another host, which must not see the user's token.
        self.store = f"http://localhost:{self.port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def add(self, repo, files, commit=MAIN, **details):
        self.repos.setdefault(repo, Repo({}, **details)).commits[commit] = dict(files)

    def spans(self, name):
        """Byte ranges that were asked of a file, and its redirects left out."""
        return [r.span for r in self.requests if r.name == name and r.method == "GET" and r.span]


def etag_of(name, data):
    return (hashlib.sha256 if name.endswith(LARGE) else hashlib.sha1)(data).hexdigest()


def handler(hub):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # or every answer waits for an acknowledgement

        def log_message(self, *_):
            pass

        def do_HEAD(self):
            self.answer()

        def do_GET(self):
            self.answer()

        def answer(self):
            if self.path.startswith("/api/"):  # nothing that is asked for here
                return self.refuse(404, "")
            org, model, _, revision, *path = self.path.lstrip("/").split("/")
            name = "/".join(map(unquote, path))
            span = self.headers.get("Range")
            pair = tuple(map(int, span.removeprefix("bytes=").split("-"))) if span else None
            stored = self.headers["Host"].startswith("localhost")
            if not (pair and not stored and name.endswith(LARGE)):
                hub.requests.append(
                    Request(
                        self.command,
                        self.headers["Host"],
                        name,
                        (pair[0], pair[1] + 1) if pair else None,
                        "authorization" in self.headers,
                    )
                )
            repo = hub.repos.get(f"{org}/{model}")
            if repo is None:
                return self.refuse(401, "RepoNotFound")
            if repo.error:
                return self.refuse(*repo.error)
            commit = repo.refs.get(unquote(revision), unquote(revision))
            if commit not in repo.commits:
                return self.refuse(404, "RevisionNotFound")
            if name not in repo.commits[commit]:
                return self.refuse(404, "EntryNotFound", {"X-Repo-Commit": commit})
            data = repo.commits[commit][name]
            etag = etag_of(name, data)
            common = {"X-Repo-Commit": commit, "ETag": f'"{etag}"'}
            if not name.endswith(LARGE):
                return self.send(200, data, common)
            if stored and not pair:
                return self.send(200, data, {})
            if stored:
                return self.ranged(data, pair)
            if self.command == "GET" and hub.faults and hub.faults[0] == "etag":
                hub.faults.popleft()
                etag = "0" * 64
            location = f"{hub.store}/{org}/{model}/resolve/{commit}/{'/'.join(path)}"
            linked = {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(len(data))}
            return self.send(302, b"", common | linked | {"Location": location})

        def ranged(self, data, pair):
            fault = hub.faults.popleft() if hub.faults else "ok"
            if fault == "503":
                return self.refuse(503, "")
            if fault.startswith("429"):
                return self.refuse(429, "", {"Retry-After": fault.split()[1]})
            if fault == "whole":
                return self.send(200, data, {})
            if fault == "size":
                data = data[:-8]
            start, last = pair
            if start >= len(data):
                return self.send(416, b"", {"Content-Range": f"bytes */{len(data)}"})
            part = data[start : last + 1]
            place = f"bytes {start}-{start + len(part) - 1}/{len(data)}"
            if fault == "empty":
                part = b""
            if fault.startswith(("cut", "hang")):
                self.send(206, part, {"Content-Range": place}, cut=int(fault.split()[1]))
                if fault.startswith("hang"):
                    self.wfile.flush()
                    hub.released.wait(5)
                self.close_connection = True
                return None
            return self.send(206, part, {"Content-Range": place, "ETag": '"of the store"'})

        def refuse(self, status, code, more=None):
            self.send(status, b"{}", {"X-Error-Code": code, **(more or {})})

        def send(self, status, data, headers, cut=None):
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command == "GET" and status == 206 and hub.pace:
                self.send_slowly(data, hub.pace)
            elif self.command == "GET":
                self.wfile.write(data[:cut])

        def send_slowly(self, data, pace):
            for start in range(0, len(data), PIECE):
                piece = data[start : start + PIECE]
                self.wfile.write(piece)
                hub.sent += len(piece)
                pace(hub.sent)

    return Handler


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The stand-in hub, with empty caches, a user's token, and no waiting."""
    hub = StandInHub()
    monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
    template = hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
    monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(tmp_path / "home" / "assets"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.delenv("SDIAG_WEIGHTS", raising=False)
    hub.waits = []
    monkeypatch.setattr("time.sleep", hub.waits.append)
    yield hub
    huggingface_hub.close_session()
    hub.close()


@pytest.fixture
def state():
    """A vision tower of odd types and shapes between parts of a language model."""
    g = torch.Generator().manual_seed(0)
    return {
        "lm_head.weight": torch.randn(64, 32, generator=g),
        "model.layers.0.mlp.weight": torch.randn(64, 64, generator=g).bfloat16(),
        "visual.blocks.0.qkv.weight": torch.randn(48, 16, generator=g).bfloat16(),
        "visual.blocks.0.qkv.bias": torch.randn(48, generator=g).bfloat16(),
        "visual.patch.weight": torch.randn(16, 3, 2, 4, 4, generator=g).half(),
        "visual.positions": torch.arange(17),
        "visual.scale": torch.tensor(1.5, dtype=torch.float64),
        "visual.zempty": torch.zeros(0, 4),
    }


CONFIG = {"model_type": "qwen2_vl", "vision_config": {"depth": 1}}


@pytest.fixture
def single(state):
    """Files of a checkpoint with one safetensors file, as bytes by name."""
    return {"config.json": json.dumps(CONFIG).encode(), "model.safetensors": save(state)}


@pytest.fixture
def sharded(state):
    """Files of a checkpoint in three shards: language, tower, and both."""
    tower = [name for name in state if name.startswith("visual.")]
    shards = {
        "model-00001-of-00003.safetensors": ["lm_head.weight"],
        "model-00002-of-00003.safetensors": tower[:3],
        "model-00003-of-00003.safetensors": ["model.layers.0.mlp.weight", *tower[3:]],
    }
    index = {"metadata": {}, "weight_map": {n: s for s, names in shards.items() for n in names}}
    files = {s: save({n: state[n] for n in names}) for s, names in shards.items()}
    return files | {
        "config.json": json.dumps(CONFIG).encode(),
        "model.safetensors.index.json": json.dumps(index).encode(),
    }


@pytest.fixture
def write(tmp_path):
    """Write files by name into a new folder."""

    def write(files, folder="checkpoint"):
        for name, data in files.items():
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return tmp_path / folder

    return write


@pytest.fixture
def same():
    """Whether two states hold the same bits under the same names."""

    def same(found, expected):
        return found.keys() == expected.keys() and all(
            found[n].dtype == x.dtype and found[n].shape == x.shape and torch.equal(found[n], x)
            for n, x in expected.items()
        )

    return same
