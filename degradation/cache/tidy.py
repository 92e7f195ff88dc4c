"""Housekeeping: what is in a cache folder, whether it is sound, and what can go."""

import json
import math
import shutil
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from degradation.cache.files import is_locked, locked, stray_files
from degradation.cache.pairs import PairEntry, pair_path, pairs
from degradation.cache.reader import Features, open_features
from degradation.cache.schema import INDEX, KEY, Key, key_from, pictures_folder, shard_number
from degradation.cache.shards import checksum, read_card
from degradation.errors import CacheError

__all__ = [
    "CacheLine",
    "KeptPictures",
    "Problem",
    "Removal",
    "kept_pictures",
    "listing",
    "prune",
    "verify",
]


@dataclass(frozen=True, slots=True)
class CacheLine:
    """One cache, as `sdiag cache ls` shows it.

    Attributes:
        address: Folder name below `features/`.
        task: Name of the task; "?" if its key cannot be read, as for the next two.
        split: Split of the task.
        encoder: Name of the encoder.
        rows: Samples on disk; of an incomplete cache, those in its finished shards.
        bytes: Size on disk.
        complete: Whether its index is written.
        pairs: Names of the pairs that refer to it.
    """

    address: str
    task: str
    split: str
    encoder: str
    rows: int
    bytes: int
    complete: bool
    pairs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KeptPictures:
    """How many scaled pictures are kept for the next pair of their size, and their bytes."""

    count: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with a cache or a pair entry, and where."""

    address: str
    what: str


@dataclass(frozen=True, slots=True)
class Removal:
    """A file or folder that `prune` removes, why, and its size in bytes."""

    path: Path
    reason: str
    bytes: int


def _folders(root: Path) -> list[Path]:
    """Folders of all caches, by name."""
    features = root / "features"
    return sorted(path for path in features.iterdir() if path.is_dir()) if features.is_dir() else []


def _size(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _key(folder: Path) -> Key:
    """The key of a cache, checked against its address.

    Raises:
        CacheError: It is missing, unreadable or of another cache.
    """
    try:
        key = key_from(json.loads((folder / KEY).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CacheError(f"{folder / KEY} cannot be read ({error}).") from error
    if key.address != folder.name:
        raise CacheError(f"{folder / KEY} belongs to {key.address}.")
    return key


def listing(root: Path) -> list[CacheLine]:
    """All caches below `root`, complete or not.

    Args:
        root: Root of all caches.
    """
    users: dict[str, list[str]] = defaultdict(list)
    for entry in pairs(root):
        for address in entry.addresses:
            users[address].append(entry.pair)
    return [_line(folder, tuple(sorted(set(users[folder.name])))) for folder in _folders(root)]


def _line(folder: Path, names: tuple[str, ...]) -> CacheLine:
    """One line of the listing; a damaged cache is listed too."""
    try:
        key = _key(folder)
        named = (key.task.name, key.split, key.encoder)
    except CacheError:
        named = ("?", "?", "?")
    rows = 0
    for path in folder.glob("shard-*.h5"):
        try:
            with h5py.File(path, "r") as file:
                rows += len(file["rows"])
        except (OSError, KeyError):
            continue  # `verify` is there to complain
    complete = (folder / INDEX).exists()
    return CacheLine(folder.name, *named, rows, _size(folder), complete, names)


def kept_pictures(root: Path) -> KeptPictures:
    """The pictures kept below `root`, whatever their task and size."""
    files = [path for path in pictures_folder(root).rglob("*") if path.is_file()]
    return KeptPictures(len(files), sum(path.stat().st_size for path in files))


def verify(root: Path) -> list[Problem]:
    """Everything that is wrong below `root`; reads every byte.

    Checks the checksum of each shard, that shards are consecutive and those of the index, that
    the index fits them, that pixels are hashed, that numbers are finite except in absent boxes,
    and that pairs refer to complete caches. Caches that are being written are passed over.

    Args:
        root: Root of all caches.
    """
    problems = [
        Problem(folder.name, what)
        for folder in _folders(root)
        if not is_locked(folder)
        for what in _problems(root, folder)
    ]
    for entry in pairs(root):
        problems += [
            Problem(address, f"missing or incomplete, but pair {entry.pair} refers to it")
            for address in entry.addresses
            if not (root / "features" / address / INDEX).exists()
        ]
    return problems


def _problems(root: Path, folder: Path) -> Iterator[str]:
    """What is wrong with one cache."""
    try:
        key = _key(folder)
    except CacheError as error:
        yield str(error)
        return
    yield from (f"stray temporary file {path.name}" for path in stray_files(folder))
    sums = {path.name: checksum(path) for path in sorted(folder.glob("shard-*.h5"))}
    damaged = False
    for name, sha256 in sums.items():
        match = shard_number(name)
        if match is None or not sha256.startswith(match[1]):
            damaged = True
            yield f"{name} is damaged: its checksum does not fit its name"
    if not (folder / INDEX).exists():
        yield "incomplete: run the same extraction again, or prune it"
        return
    if damaged:
        return  # the rest would only repeat it
    try:
        yield from _index_problems(open_features(root, folder.name), key, sums)
    except (CacheError, OSError, KeyError, ValueError) as error:
        yield str(error)


def _index_problems(features: Features, key: Key, sums: dict[str, str]) -> Iterator[str]:
    """Where the index and the shards disagree, and numbers that are not finite."""
    folder = features.folder
    if features.key != key:
        yield f"{INDEX} has another key than {KEY}"
        return
    with h5py.File(folder / INDEX, "r") as file:
        names = file["shards/names"].asstr()[:].tolist()
        expected = dict(zip(names, file["shards/sha256"].asstr()[:].tolist(), strict=True))
    if expected != sums:
        odd = sorted(expected.items() ^ sums.items())[0][0]
        yield f"{INDEX} and the shards on disk disagree, first in {odd}"
        return
    cards = [read_card(folder / name, key, sums[name]) for name in names]
    numbers = [shard_number(name)[0] for name in names]
    positions = np.concatenate([card.rows for card in cards])
    total = len(positions) + sum(len(card.left_out) for card in cards)
    if numbers != list(range(math.ceil(total / key.shard_rows))) or (np.diff(positions) <= 0).any():
        yield "shards are not consecutive"
    hashes = np.concatenate([card.pixel_hashes for card in cards])
    if len(positions) != len(features.rows) or not np.array_equal(hashes, features.pixel_hashes):
        yield f"{INDEX} has other rows than the shards"
        return
    for start, card in zip(np.cumsum([0, *(n for _, n in features.shards)]), cards, strict=False):
        yield from _not_finite(features, card.name, int(start))


def _not_finite(features: Features, name: str, start: int) -> Iterator[str]:
    """Datasets of one shard with numbers that are not finite although the row has the box."""
    with h5py.File(features.folder / name, "r") as file:
        for group in ("pooled", "tokens"):
            for leaf, data in file.get(group, {}).items():
                rows = slice(start, start + len(data))
                boxes = features.rows.boxes.get(leaf) if group == "pooled" else None
                absent = (
                    np.isnan(boxes[rows]).any(axis=2).all(axis=1)
                    if boxes is not None
                    else np.zeros(len(data), dtype=bool)
                )
                bad = ~np.isfinite(data[()]).all(axis=(1, 2)) & ~absent
                if bad.any():
                    row = features.rows.ids[start + int(bad.argmax())]
                    yield f"{group}/{leaf} in {name} is not finite for row {row!r}"


def prune(root: Path, *, apply: bool, pictures: bool = False) -> list[Removal]:
    """What can go: incomplete, damaged and unreferenced caches, stray files, dangling pairs.

    Reads every byte, as `verify` does. A cache that is being written is never touched. After a
    damaged side was removed, extract again before pruning again: until then the other side is
    unreferenced.

    Args:
        root: Root of all caches.
        apply: Remove; otherwise only say what would be removed.
        pictures: Also all kept pictures, sound ones too: they can be scaled again.

    Returns:
        One entry for each file or folder, in the order of removal.

    Raises:
        CacheError: The pictures are to go, but a cache is being written, perhaps with them.
    """
    kept, busy = pictures_folder(root), [path for path in _folders(root) if is_locked(path)]
    if pictures and busy:
        raise CacheError(
            f"Expected no extraction under way, which may need the pictures in {kept}, but "
            f"{busy[0]} is being written. Wait for it to end, or leave the pictures."
        )
    entries = pairs(root)
    used = {address for entry in entries for address in entry.addresses}
    found: list[Removal] = []
    gone = set()
    for folder in _folders(root):
        if folder in busy:
            continue
        if reason := _reason(root, folder, used):
            gone.add(folder.name)
            found.append(Removal(folder, reason, _size(folder)))
        else:
            found += [_stray(path) for path in stray_files(folder)]
    found += [_stray(path) for path in stray_files(root / "pairs")]
    found += [_dangling(root, entry) for entry in entries if _is_dangling(root, entry, gone)]
    if pictures and kept.is_dir():
        found.append(Removal(kept, "pictures that can be scaled again", _size(kept)))
    elif not busy:
        found += [_stray(path) for path in stray_files(kept)]
    if apply:
        for removal in found:
            _remove(removal.path)
    return found


def _reason(root: Path, folder: Path, used: set[str]) -> str:
    """Why a cache can go, or nothing."""
    if not (folder / INDEX).exists():
        return "incomplete"
    if folder.name not in used:
        return "no pair refers to it"
    for what in _problems(root, folder):
        if not what.startswith("stray"):
            return what
    return ""


def _stray(path: Path) -> Removal:
    """The removal of a temporary file."""
    return Removal(path, "stray temporary file", _size(path))


def _is_dangling(root: Path, entry: PairEntry, gone: set[str]) -> bool:
    """Whether a pair refers to a cache that is not there, or not for long."""
    return any(
        address in gone or not (root / "features" / address).is_dir() for address in entry.addresses
    )


def _dangling(root: Path, entry: PairEntry) -> Removal:
    """The removal of a pair entry."""
    path = pair_path(root, entry)
    return Removal(path, "refers to a cache that is gone", _size(path))


def _remove(path: Path) -> None:
    """Delete a file, or a cache under its lock."""
    if not path.is_dir():
        path.unlink(missing_ok=True)
        return
    with locked(path):
        shutil.rmtree(path)
