"""The protocol of a comparison: every choice that changes the answer, in one record.

`paired-native-grid v1` is the default: each picture squashed to the native side of the encoder
before, the same pixels to both sides, each with its own mean and deviation, positions at their
native grid, the output of the same block on both sides, patch tokens averaged.

A protocol has two parts. `Protocol.geometry` decides the pixels: features are compared only if it
is the same on both sides, down to the hashes of the pixels. All else decides what features are
made of these pixels.

Any other protocol is named after what differs, with a digest: `paired(geometry=pad)-0f3c9a1e`.
Size, blocks and arithmetic are not in the name, since the key of a cache holds them on their own.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import UInt8

from degradation.encoders.statistics import (
    CLIP_STATISTICS,
    HALF_STATISTICS,
    IMAGENET_STATISTICS,
    Statistics,
)
from degradation.errors import CacheError, ConfigError, PairingError
from degradation.geometry import Geometry

__all__ = [
    "STATISTICS",
    "VERSION",
    "Protocol",
    "check_same_pixels",
    "pixel_record",
    "protocol_from",
    "protocol_of",
]

VERSION = 1
"""Raised whenever a protocol of the same name would give other pixels or features."""

STATISTICS: Mapping[str, Statistics] = MappingProxyType(
    {
        "clip": CLIP_STATISTICS,
        "imagenet": IMAGENET_STATISTICS,
        "half": HALF_STATISTICS,
    }
)
"""Mean and standard deviation of the channels, by the name that follows `shared:`."""

_SHARED = tuple(f"shared:{name}" for name in STATISTICS)
_DEFAULT = "paired-native-grid"
_NAME = re.compile(r"paired\((.+)\)-[0-9a-f]{8}")
_APART = ("size", "blocks", "token_blocks", "dtype")  # fields of their own in the key of a cache
_GRID = re.compile(r"grid:([1-9]\d?)x\1")


@dataclass(frozen=True, slots=True)
class Protocol:
    """Everything beside the pictures and the weights that changes the answer.

    Attributes:
        geometry: How pictures become the pixels of both sides.
        normalisation: `native`: each encoder with its own mean and deviation; `shared:NAME`: both
            with those of `STATISTICS`.
        positions: What happens where the grid is not the one that the table of learned positions
            was made for: `none` refuses, `bicubic` interpolates the table on both sides
            (not antialiased, float32).
        stage: `block`: the residual stream after a block; `native_norm`: after the norm that the
            encoder's own consumer applies to it, where there is one.
        pool: What becomes of the patch tokens: `mean`, `max`, `gem` (generalised mean) or
            `grid:KxK` (the means of K x K fields); or `cls`, the class token in their place.
        mask_pad: Whether pooling leaves padding out; only `pad` has any.
        blocks: Blocks that are pooled; None for all that both sides have.
        token_blocks: Blocks whose token maps are stored.
        dtype: Arithmetic of the forward pass.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    geometry: Geometry = field(default_factory=Geometry)
    normalisation: str = "native"
    positions: Literal["none", "bicubic"] = "none"
    stage: Literal["block", "native_norm"] = "block"
    pool: str = "mean"
    mask_pad: bool = True
    blocks: tuple[int, ...] | None = None
    token_blocks: tuple[int, ...] = ()
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        """Check that every option exists and has an effect.

        Raises:
            ConfigError: Naming the option.
        """
        if self.normalisation not in ("native", *_SHARED):
            raise ConfigError(
                f"Expected a normalisation of native, {', '.join(_SHARED)}; found "
                f"{self.normalisation!r}."
            )
        if self.pool not in ("mean", "cls", "max", "gem") and not _GRID.fullmatch(self.pool):
            raise ConfigError(
                "Expected pooling by mean, cls, max, gem or grid:KxK, as grid:3x3; found "
                f"{self.pool!r}."
            )
        if not self.mask_pad and self.geometry.kind != "pad":
            raise ConfigError(
                f"mask_pad belongs to geometry pad, but the geometry is {self.geometry.kind}, "
                "which has no padding. Leave it out."
            )

    @property
    def pool_grid(self) -> int | None:
        """K of `grid:KxK`; None for the other ways to pool."""
        match = _GRID.fullmatch(self.pool)
        return int(match[1]) if match else None

    @property
    def statistics(self) -> Statistics | None:
        """The mean and deviation for both sides; None if each keeps its own."""
        return STATISTICS.get(self.normalisation.removeprefix("shared:"))

    @property
    def pixels(self) -> dict[str, Any]:
        """The knobs that decide the pixels, by name."""
        knobs = asdict(self.geometry)
        return {"geometry": knobs.pop("kind"), **knobs}

    @property
    def features(self) -> dict[str, Any]:
        """The knobs that decide what features are made of the pixels, by name."""
        knobs = asdict(self)
        del knobs["geometry"]
        return knobs

    @property
    def name(self) -> str:
        """The canonical name: equal for protocols that differ in size, blocks and dtype only."""
        standard = _STANDARD.pixels | _STANDARD.features
        knobs = self.pixels | self.features
        text = ",".join(
            f"{knob}={value}"
            for knob, value in knobs.items()
            if knob not in _APART and value != standard[knob]
        )
        if not text:
            return _DEFAULT
        return f"paired({text})-{hashlib.sha256(f'v{VERSION} {text}'.encode()).hexdigest()[:8]}"

    def __str__(self) -> str:
        """Name and version, as reports print it."""
        return f"{self.name} v{VERSION}"

    @property
    def json(self) -> str:
        """The record as canonical JSON; `protocol_from` reads it."""
        return json.dumps(asdict(self), sort_keys=True)


_STANDARD = Protocol()


def protocol_from(text: str) -> Protocol:
    """The protocol that `Protocol.json` turned into `text`; knobs left out are the default.

    Raises:
        ConfigError: It is not a protocol: an unknown knob, a value out of range, no JSON.
    """
    from pydantic import TypeAdapter, ValidationError  # slow to import, and rarely needed

    try:
        return TypeAdapter(Protocol).validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the text"
        raise ConfigError(
            f"Expected a protocol as JSON, but {place} cannot be used: {first['msg']}. Found "
            f"{str(first['input'])[:80]!r}."
        ) from error


def pixel_record(protocol: Protocol) -> dict[str, Any]:
    """The fields of `degradation.cache.PixelProtocol`, which goes into the address of a cache.

    Its name tells all knobs apart that the key of a cache does not hold on its own.

    Raises:
        ConfigError: The picture side is not yet decided.
    """
    geometry = protocol.geometry
    if geometry.size is None and geometry.kind != "native":
        raise ConfigError(
            "The protocol has no picture side yet. Give a size, or take the native one of the "
            "encoder before."
        )
    return {
        "name": protocol.name,
        "version": VERSION,
        "geometry": geometry.kind,
        "filter": geometry.filter,
        "size": geometry.size or 0,
    }


def protocol_of(
    record: Mapping[str, Any],
    *,
    blocks: tuple[int, ...] | None,
    token_blocks: tuple[int, ...],
    dtype: str,
) -> Protocol:
    """The protocol of a cache: the inverse of `pixel_record`.

    Args:
        record: Fields of its `PixelProtocol`.
        blocks: `Key.blocks`.
        token_blocks: `Key.token_blocks`.
        dtype: `Key.compute`.

    Raises:
        CacheError: The record was written by another version, or holds imported features.
    """
    match = _NAME.fullmatch(record["name"])
    knobs = dict(part.partition("=")[::2] for part in match[1].split(",")) if match else {}
    geometry: dict[str, Any] = {k: knobs.pop(k) for k in _STANDARD.pixels if k in knobs}
    geometry |= {"kind": geometry.pop("geometry", "squash"), "size": record["size"] or None}
    parts = {"geometry": geometry, "blocks": blocks, "token_blocks": token_blocks, "dtype": dtype}
    try:
        protocol = protocol_from(json.dumps(knobs | parts))
        if pixel_record(protocol) == dict(record):
            return protocol
    except ConfigError:
        pass
    raise CacheError(
        f"Expected features by a protocol of version {VERSION}, found {record['name']} "
        f"v{record['version']} at side {record['size']}. Extract again with this version of sdiag."
    )


def check_same_pixels(
    pre: Protocol,
    post: Protocol,
    *,
    ids: np.ndarray,
    pre_hashes: UInt8[np.ndarray, "n hash"],
    post_hashes: UInt8[np.ndarray, "n other"],
) -> None:
    """Check that both sides were shown the same pixels.

    Args:
        pre: Protocol of the features before.
        post: Protocol of the features after.
        ids: Ids of the rows, in the order of both sides, shape (n,).
        pre_hashes: Hashes of the pixels before; without columns if imported.
        post_hashes: Hashes of the pixels after.

    Raises:
        PairingError: Naming the first knob that differs, or else the first id.
    """
    for knob, value in pre.pixels.items():
        if (other := post.pixels[knob]) != value:
            raise PairingError(
                f"Both sides must have seen the same pixels, but {knob} is {value!r} before and "
                f"{other!r} after. Extract both sides with the same --{knob.replace('_', '-')}."
            )
    if pre_hashes.shape != post_hashes.shape:
        raise PairingError(
            "Both sides must have seen the same pixels, but only one side says which it saw. "
            "Extract both sides, or import both."
        )
    differ = (pre_hashes != post_hashes).any(axis=1)
    if differ.any():
        raise PairingError(
            f"Both sides must have seen the same pixels, but those of {differ.sum()} of "
            f"{len(ids)} rows differ, first {str(ids[differ.argmax()])!r}. The pictures on disk "
            "have changed, or another decoder read them: extract both sides again."
        )
