"""Encoders through their own libraries: `open_clip:`, `timm:` and `hf:` names.

    open_clip:NAME/TAG    open_clip's architecture and published weights
    open_clip:NAME@FILE   that architecture, weights from a file
    open_clip:FOLDER      open_clip_config.json and weights in a folder
    timm:NAME             timm's architecture and published weights, as in timm.list_models
    timm:NAME@FILE        that architecture, weights from a file
    hf:REPO or hf:FOLDER  transformers' own tower class for the model type in config.json

A library is imported when one of its names is asked for. No remote code, no unpickling, and
nothing of a tower may be left at its random initial value, unless that is what is asked for.
"""

import contextlib
import logging
import pickle
from collections.abc import Iterator

import torch
from huggingface_hub import constants
from safetensors import SafetensorError

from degradation.encoders.encoder import EncoderInfo
from degradation.encoders.from_open_clip import load_open_clip
from degradation.encoders.from_timm import load_timm
from degradation.encoders.from_transformers import load_hf
from degradation.encoders.frozen import FrozenEncoder
from degradation.encoders.library import HookedTower, Loaded, not_plain
from degradation.encoders.weights import digest
from degradation.errors import WeightsError

__all__ = ["LIBRARIES", "load_external"]

LIBRARIES = {"open_clip": load_open_clip, "timm": load_timm, "hf": load_hf}


def load_external(name: str, *, offline: bool = False, seed: int | None = None) -> FrozenEncoder:
    """The frozen encoder of a library.

    Args:
        name: `open_clip:`, `timm:` or `hf:` and a reference (see the module's docstring).
        offline: Whether the library may use only what the hub's cache holds.
        seed: Of fresh weights, as the library itself initialises them, in place of the trained
            ones, of which nothing is then read; None for the trained ones.

    Raises:
        ConfigError: The library has no such name, or it names no plain vision transformer.
        WeightsError: The weights are missing, cannot be read, or do not fill the tower.
    """
    library, _, reference = name.partition(":")
    try:
        with quiet(), hub(offline=offline), drawn_from(seed):
            loaded = LIBRARIES[library](reference, trained=seed is None)
    except (OSError, RuntimeError, ValueError, SafetensorError, pickle.UnpicklingError) as error:
        raise WeightsError(
            f"Expected whole weights for {name}, but {library} could not load them: {error} "
            "Without a network, download them beforehand or name a local folder or file."
        ) from error
    tower = HookedTower(loaded.model, loaded.blocks, loaded.n_prefix)
    info = EncoderInfo(
        name=name,
        digest=digest(loaded.model.state_dict(), library=library, **loaded.facts),
        n_blocks=len(tower.layers),
        width=checked_width(name, tower, loaded),
        size=loaded.size,
        patch=loaded.patch,
        n_prefix=loaded.n_prefix,
        mean=loaded.mean,
        std=loaded.std,
    )
    return FrozenEncoder(tower, info)


@torch.no_grad()
def checked_width(name: str, tower: HookedTower, loaded: Loaded) -> int:
    """The token width, after a trial that every block returns one token per cell of one grid.

    Raises:
        ConfigError: A block does not.
    """
    blocks = range(len(tower.layers))
    pixels = torch.zeros(1, 3, loaded.size, loaded.size)
    outputs = tower.eval()(pixels, blocks)
    t = (loaded.size // loaded.patch) ** 2
    shapes = {tuple(tokens.patches.shape[1:]) for tokens in outputs.values()}
    if len(outputs) != len(blocks) or len(shapes) != 1 or next(iter(shapes))[0] != t:
        raise not_plain(name, f"its blocks return {sorted(shapes)} instead of ({t}, width) each")
    return next(iter(shapes))[1]


@contextlib.contextmanager
def hub(*, offline: bool) -> Iterator[None]:
    """Let huggingface_hub, through which the libraries download, make no request if offline."""
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or offline
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


@contextlib.contextmanager
def drawn_from(seed: int | None) -> Iterator[None]:
    """Let the libraries, which know no generators, draw from a stream that starts at the seed.

    The global stream is put back as it was; None leaves it alone.
    """
    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence warnings of the libraries about what the strict checks here decide anyway."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(level)
