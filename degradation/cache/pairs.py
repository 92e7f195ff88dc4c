"""Which two caches are the sides of a pair, and whether they may be compared."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from degradation.cache.files import remove_abandoned, write_atomically
from degradation.cache.reader import Features
from degradation.cache.schema import INDEX, features_folder, plain, slug
from degradation.errors import CacheError, PairingError
from degradation.protocol import Protocol, check_same_pixels, protocol_of

__all__ = ["PairEntry", "check_paired", "known_random", "pair_path", "pairs", "write_pair"]


@dataclass(frozen=True, slots=True)
class PairEntry:
    """One extracted pair on one split: where its features are.

    Attributes:
        pair: Name of the pair.
        task: Name of the task.
        split: Split of the task.
        pre: Address of the features before.
        post: Address of the features after.
        pictures: Address of the reference features without an encoder; None if imported.
        lineage: How post came from pre.
        source: Where that is stated.
        block: Block of the confirmatory comparison; None for the last common one.
        protocol: How pictures became pixels, with version.
        imported: Whether the features were computed elsewhere.
        random: Address of the features of the same architecture with fresh weights; None if they
            were not extracted, and in older entries.
    """

    pair: str
    task: str
    split: str
    pre: str
    post: str
    pictures: str | None
    lineage: str
    source: str
    block: int | None
    protocol: str
    imported: bool = False
    random: str | None = None

    @property
    def addresses(self) -> tuple[str, ...]:
        """All caches that the pair refers to."""
        return (self.pre, self.post, *filter(None, (self.pictures, self.random)))


def pair_path(root: Path, entry: PairEntry) -> Path:
    """File of the entry: `<root>/pairs/<task>/<split>/<pair>.json`, names made safe."""
    return root / "pairs" / slug(entry.task) / slug(entry.split) / f"{slug(entry.pair)}.json"


def write_pair(root: Path, entry: PairEntry) -> None:
    """Write the entry; call it only when all its caches are complete."""
    path = pair_path(root, entry)
    text = json.dumps(plain(entry), indent=1, ensure_ascii=False)
    write_atomically(path, text.encode())
    remove_abandoned(path)  # no lock is held here, so a killed run may have left its part


def known_random(root: Path, entry: PairEntry) -> str | None:
    """The random side of the entry that this one is to replace, if it still fits and is there.

    Extracting a pair once more, without that side, is no reason to forget it.
    """
    try:
        old = _read(pair_path(root, entry))
    except (CacheError, OSError):  # none, or nothing that could be kept
        return None
    same = (old.pre, old.post, old.pictures) == (entry.pre, entry.post, entry.pictures)
    there = old.random and (features_folder(root, old.random) / INDEX).exists()
    return old.random if same and there else None


def pairs(root: Path) -> list[PairEntry]:
    """All entries below `root`, by task, split and pair.

    Raises:
        CacheError: A file is not an entry.
    """
    return [_read(path) for path in sorted((root / "pairs").glob("*/*/*.json"))]


def _read(path: Path) -> PairEntry:
    try:
        return PairEntry(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise CacheError(
            f"{path} is not a pair entry ({error}). Delete it and extract again."
        ) from error


def check_paired(pre: Features, post: Features) -> None:
    """Check that two caches hold the same samples, seen through the same pixels, by one protocol.

    Raises:
        PairingError: Naming the first id whose presence, label or pixels differ, or what differs
            between the protocols.
        CacheError: The protocols differ, and one is of another version.
    """
    mend = f"Delete {pre.folder} and {post.folder} and run `sdiag extract` again."
    one, two = pre.rows.ids.astype(str), post.rows.ids.astype(str)
    if not np.array_equal(one, two):
        odd = [*np.setdiff1d(one, two).tolist(), *np.setdiff1d(two, one).tolist()]
        what = f"{odd[0]!r} is on one side only" if odd else "the same ids are in another order"
        raise PairingError(
            f"Cache rows differ: pre has {len(one)}, post has {len(two)}; {what}. {mend}"
        )
    if pre.rows.labels.keys() != post.rows.labels.keys():
        raise PairingError(
            f"Label sets differ: {sorted(pre.rows.labels)} and {sorted(post.rows.labels)}. {mend}"
        )
    columns = {
        f"label {name!r}": (pre.rows.labels[name], post.rows.labels[name])
        for name in pre.rows.labels
    }
    both_say = pre.pixel_hashes.shape == post.pixel_hashes.shape
    if both_say and pre.key.protocol != post.key.protocol:
        _check_protocols(pre, post)
    columns["pixels"] = (pre.pixel_hashes, post.pixel_hashes)
    for what, (left, right) in columns.items():
        if left.shape != right.shape:
            raise PairingError(f"Only one side has {what} to compare. {mend}")
        differ = (left != right).reshape(len(one), -1).any(axis=1)
        if differ.any():
            raise PairingError(
                f"Both sides must have seen the same {what}, but {differ.sum()} of {len(one)} rows "
                f"differ, first {str(one[differ.argmax()])!r}. {mend}"
            )
    if pre.key.rows_digest != post.key.rows_digest:
        raise PairingError(f"Boxes, points or clusters of the rows differ. {mend}")


def _check_protocols(pre: Features, post: Features) -> None:
    """Raise with what differs between the protocols of two sides."""
    one, two = (_protocol(side) for side in (pre, post))
    check_same_pixels(
        one, two, ids=pre.rows.ids, pre_hashes=pre.pixel_hashes, post_hashes=post.pixel_hashes
    )
    raise PairingError(
        f"Features of both sides must be made by the same protocol, but the one before is {one} "
        f"and the one after {two}. Extract both sides with the same options."
    )


def _protocol(side: Features) -> Protocol:
    """The protocol of a cache."""
    return protocol_of(
        plain(side.key.protocol),
        blocks=side.key.blocks,
        token_blocks=side.key.token_blocks,
        dtype=side.key.compute.removesuffix(" compiled"),
    )
