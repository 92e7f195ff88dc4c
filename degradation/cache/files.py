"""Files that are either whole or absent, and the lock of a folder.

Everything in a cache is written by `write_atomically`: under a temporary name in the same folder,
synced to the disk, then renamed. HDF5 images are built in memory first, so a full disk is an
ordinary `OSError` here and never an HDF5 file that cannot be closed.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from degradation.errors import CacheError

__all__ = [
    "LOCK",
    "is_locked",
    "locked",
    "remove_abandoned",
    "stray_files",
    "sync",
    "write_atomically",
]

LOCK = "lock"
_TEMPORARY = ".part"


def write_atomically(path: Path, data: bytes | memoryview) -> None:
    """Write `data` to `path` so that at any moment the file is either whole or absent.

    Raises:
        CacheError: The disk is full or cannot be written; no temporary file is left.
    """
    # Not shared with a process of a killed run that still writes the same file.
    part = path.with_name(f"{path.name}.{os.getpid()}{_TEMPORARY}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
        sync(path.parent)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise CacheError(
            f"Could not write {path} ({len(data) / 1e6:.1f} MB): {error.strerror or error}. What "
            "was finished is kept: make room or mend the folder and run the same command again."
        ) from error


def sync(path: Path) -> None:
    """Make a file, or the names in a folder, outlive a power cut.

    Raises:
        OSError: The disk does not take them.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def stray_files(folder: Path) -> list[Path]:
    """Temporary files below `folder` that a killed process left behind."""
    return sorted(folder.rglob("*" + _TEMPORARY))


def remove_abandoned(path: Path) -> None:
    """Remove what processes that are dead left of writing the file at `path`."""
    for part in path.parent.glob(f"{path.name}.*{_TEMPORARY}"):
        writer = part.name.removeprefix(f"{path.name}.").removesuffix(_TEMPORARY)
        try:
            os.kill(int(writer), 0)
        except ProcessLookupError:
            part.unlink(missing_ok=True)
        except (PermissionError, ValueError):  # alive, or not a name of ours
            continue


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of `folder`; the operating system releases it if this process dies.

    Raises:
        CacheError: Another process holds it.
    """
    descriptor = _take(folder)
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(descriptor)


def _take(folder: Path) -> int:
    """Descriptor of the locked lock file of `folder`."""
    path = folder / LOCK
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise CacheError(
                f"Could not open {path}: {error.strerror}. Choose a cache folder that is writable."
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode().strip() or "unknown"
            os.close(descriptor)
            raise CacheError(
                f"{folder} is being written by another process (process id {holder}). "
                "Wait for it to end, or stop it, and run the same command again."
            ) from None
        # Between opening and locking, the folder may have been pruned: then we hold a ghost.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        os.close(descriptor)


def is_locked(folder: Path) -> bool:
    """Whether some process is writing into `folder` now."""
    if not (folder / LOCK).exists():
        return False
    with (folder / LOCK).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
