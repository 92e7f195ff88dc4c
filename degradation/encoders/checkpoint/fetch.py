"""Large files from the hub, written beside the target and renamed when whole.

A download that was stopped leaves `NAME.part`, which the next call goes on with. It holds a prefix
of what the whole will be, and its name carries the version it belongs to, so nothing that is
half-written or of another version is ever taken for a whole file.
"""

import hashlib
import logging
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from huggingface_hub.utils import WeakFileLock
from tqdm import tqdm

from degradation.encoders.checkpoint.files import SHA256
from degradation.encoders.checkpoint.header import Span
from degradation.encoders.checkpoint.network import (
    ChangedFileError,
    RemoteFacts,
    append_range,
    plain_words,
)
from degradation.errors import WeightsError

__all__ = ["fetch"]

logger = logging.getLogger(__name__)


def fetch(facts: RemoteFacts, path: Path, head: bytes, spans: Sequence[Span]) -> None:
    """Write `head` and then these byte spans of a remote file to `path`.

    A span over the whole file is checked against the SHA-256 that the hub gives for it.

    Args:
        facts: The remote file.
        path: Named so that it tells versions and spans apart.
        head: Bytes before those of the remote file.
        spans: In the order they are written.

    Raises:
        ChangedFileError: The remote file is another by now; what was fetched is removed.
        WeightsError: The network fails too often, or the disk is full; what was fetched is kept.
    """
    part = path.with_name(path.name + ".part")
    with plain_words(facts.repo, facts.revision):
        path.parent.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(path.with_name(path.name + ".lock")):
            if path.is_file():  # by another process, while this one waited
                return
            try:
                with part.open("a+b") as file:
                    fill(file, facts, head, spans)
                if list(spans) == [(0, facts.size)] and not head:
                    check_digest(part, facts)
            except ChangedFileError:
                part.unlink()
                raise
            os.replace(part, path)


def fill(file: BinaryIO, facts: RemoteFacts, head: bytes, spans: Sequence[Span]) -> None:
    """Append to `file` whatever it lacks."""
    file.seek(0)
    if file.read(len(head)) != head:
        file.truncate(0)
        file.write(head)
    done = file.seek(0, os.SEEK_END)
    total = len(head) + sum(stop - start for start, stop in spans)
    room_for(total - done, Path(file.name).parent, facts.source)
    logger.info("Fetching %.1f of %.1f MB of %s", total / 1e6, facts.size / 1e6, facts.source)
    with tqdm(
        desc=facts.name,
        total=total,
        initial=done,
        unit="B",
        unit_scale=True,
        file=sys.stderr,
        disable=None,  # shown on a terminal only
    ) as bar:

        def write(data: bytes) -> None:
            file.write(data)
            bar.update(len(data))

        for start, stop in remaining(spans, done - len(head)):
            append_range(facts, start, stop, write)
    file.flush()
    os.fsync(file.fileno())


def remaining(spans: Sequence[Span], done: int) -> Iterator[Span]:
    """What is left of the spans when their first `done` bytes are there."""
    for start, stop in spans:
        skipped = min(done, stop - start)
        done -= skipped
        if start + skipped < stop:
            yield start + skipped, stop


def room_for(size: int, folder: Path, what: str) -> None:
    """Refuse to begin a download that cannot end.

    Raises:
        WeightsError: The disk of `folder` has less than `size` bytes free.
    """
    free = shutil.disk_usage(folder).free
    if free < size:
        raise WeightsError(
            f"Expected {size / 1e6:,.1f} MB of room in {folder} for {what}, but found "
            f"{free / 1e6:,.1f} MB. Make room, or set HF_HOME to a larger disk."
        )


def check_digest(part: Path, facts: RemoteFacts) -> None:
    """Refuse a whole file that is not the one the hub describes.

    Raises:
        ChangedFileError: It is another; it is removed.
    """
    if not SHA256.fullmatch(facts.etag):
        return
    with part.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != facts.etag:
        raise ChangedFileError(
            f"Expected {facts.source} with SHA-256 {facts.etag}, but what arrived has {found}. It "
            "was removed: run the same command again."
        )
