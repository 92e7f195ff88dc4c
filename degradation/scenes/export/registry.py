"""The miniatures by name.

A miniature is a module with `QUIRKS`, what can be wrong with the real data set by name, and
`write(folder, *, seed, scale, quirks)`, which fills an empty folder.
"""

import importlib
from collections.abc import Collection, Mapping
from pathlib import Path

from degradation.encoders.names import unknown_name
from degradation.errors import ConfigError

__all__ = ["MINIATURES", "export", "quirks_of"]

_HERE = "degradation.scenes.export"

MINIATURES: Mapping[str, tuple[str, ...]] = {
    "affectnet": ("affectnet", "affectnet-7"),
    "hagrid": ("hagrid",),
    "gazefollow": ("gazefollow",),
    "pisc": ("pisc-relationship", "pisc-domain"),
    "lam": ("lam",),
}
"""The tasks that read each miniature."""


def quirks_of(name: str) -> Mapping[str, str]:
    """What can be wrong with a data set, and so with its miniature: explanation by name.

    Raises:
        ConfigError: There is no such miniature.
    """
    if name not in MINIATURES:
        raise unknown_name("miniature", name, list(MINIATURES))
    return importlib.import_module(f"{_HERE}.{name}").QUIRKS


def export(
    name: str, folder: Path, *, seed: int = 0, scale: float = 1.0, quirks: Collection[str] = ()
) -> None:
    """Write a miniature of a data set.

    Args:
        name: One of `MINIATURES`.
        folder: Where to; made if it does not exist, and refused if there is something in it.
        seed: Of the rendered world.
        scale: Factor on the number of samples; 1 gives enough to probe.
        quirks: Names out of `quirks_of(name)`.

    Raises:
        ConfigError: An unknown miniature or quirk, or a folder that is not empty.
    """
    known = quirks_of(name)
    for quirk in quirks:
        if quirk not in known:
            raise unknown_name("quirk", quirk, list(known))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"Expected an empty folder to write to, found {folder}. Name another.")
    folder.mkdir(parents=True, exist_ok=True)
    write = importlib.import_module(f"{_HERE}.{name}").write
    write(folder, seed=seed, scale=scale, quirks=frozenset(quirks))
