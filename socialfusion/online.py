"""Tokens computed from the pictures when they are asked for, which may be changed by chance.

Rows, boxes and labels still come from the cache, and so does the protocol: without changes the
tokens are those that `sdiag extract --token-block` would store.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from degradation.axes import Side
from degradation.encoders.encoder import Encoder
from degradation.encoders.registry import load_encoder
from degradation.errors import ConfigError, PairingError
from degradation.pixels import to_rgb
from degradation.tasks.registry import get_task
from degradation.views import square
from probes.table import Table
from socialfusion.augment import Change, draw_change, may_mirror
from socialfusion.place import Place
from socialfusion.tokens import Boxes, Points, Rows, Seen

__all__ = ["Online", "OnlineTokens", "Shown", "load_online"]

_PROTOCOL = "paired-native-grid"


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """Rows as they are shown to the encoder.

    Attributes:
        pixels: Of each frame, shape (m, f, s, s, 3).
        boxes: By role, where the boxes are in them, shape (m, f, 4); NaN for none.
        points: Annotated gaze points there, NaN-padded, shape (m, a, 2).
    """

    pixels: UInt8[torch.Tensor, "m f s s 3"]
    boxes: Boxes
    points: Points


@dataclass(frozen=True, slots=True, eq=False)
class Online:
    """What computes tokens.

    Attributes:
        encoder: Frozen, on the place's device.
        place: Where it computes.
        roots: Folder of the pictures by task; tasks of the rendered world need none.
    """

    encoder: Encoder
    place: Place
    roots: Mapping[str, Path | None]

    def tokens(self, table: Table, side: Side, block: int) -> "OnlineTokens":
        """The tokens of the rows of a table.

        Raises:
            ConfigError: The rows were extracted by another protocol than the default.
            DataError: The pictures are missing.
            PairingError: The features in the cache are of other weights.
        """
        features = next(iter(table.features.values()))[side]
        protocol, name = features.key.protocol, table.spec.name
        if protocol.name != _PROTOCOL:
            raise ConfigError(
                f"Expected features by the protocol {_PROTOCOL} for --online and --train-encoder, "
                f"found {protocol} of {name}. Leave these out, or extract with the default options."
            )
        if features.encoder.digest != self.encoder.info.digest:
            raise PairingError(
                f"Expected the encoder {features.encoder.name} with digest "
                f"{features.encoder.digest[:12]}, which {name} was extracted with, found "
                f"{self.encoder.info.digest[:12]}. Extract again."
            )
        task = get_task(name, data_root=self.roots.get(name))
        return OnlineTokens(
            pictures=np.concatenate([table.rows(split).pictures for split in table.features]),
            open=task.open,
            size=protocol.size,
            encoder=self.encoder,
            block=block,
            place=self.place,
            mirror=may_mirror(table.spec),
        )


def load_online(encoder: str, place: Place, roots: Mapping[str, Path | None]) -> Online:
    """An encoder for tokens on the way.

    Args:
        encoder: Name of the encoder itself, not of a side of a pair.
        place: Where it computes.
        roots: Folder of the pictures by task.

    Raises:
        ConfigError: No encoder has that name.
        WeightsError: Its weights are missing or do not fit.
    """
    return Online(load_encoder(encoder, device=str(place.device)), place, roots)


@dataclass(frozen=True, slots=True, eq=False)
class OnlineTokens:
    """Tokens of the n rows of a table, computed from their pictures; see `socialfusion.tokens`.

    Attributes:
        pictures: References by frame, shape (n, f).
        open: Opens one.
        size: Side to which pictures are scaled.
        encoder: Frozen.
        block: Whose tokens are taken.
        place: Where it computes.
        mirror: Whether pictures may be mirrored.
    """

    pictures: np.ndarray
    open: Callable[[str], Image.Image]
    size: int
    encoder: Encoder
    block: int
    place: Place
    mirror: bool

    @property
    def slow(self) -> bool:
        """Reading pictures ahead is worth its threads."""
        return True

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one row, (v, d)."""
        cells = self.size // self.encoder.info.patch
        return self.pictures.shape[1] * cells**2, self.encoder.info.width

    def see(
        self, rows: Rows, boxes: Boxes, points: Points, rng: np.random.Generator | None = None
    ) -> Seen:
        """Chosen rows, in their order, each changed in its own way if there is a generator.

        Raises:
            DataError: A picture cannot be read.
        """
        shown = self.show(rows, boxes, points, rng)
        images = shown.pixels.to(self.place.device).flatten(0, 1).permute(0, 3, 1, 2)
        with torch.no_grad(), self.place.arithmetic():
            tokens = self.encoder(images, [self.block])[self.block].patches
        tokens = tokens.float().unflatten(0, shown.pixels.shape[:2]).flatten(1, 2)
        return Seen(tokens, shown.boxes, shown.points)

    def show(
        self, rows: Rows, boxes: Boxes, points: Points, rng: np.random.Generator | None = None
    ) -> Shown:
        """The pictures behind `see`; arguments and errors are the same."""
        pixels = []
        moved = {role: column.copy() for role, column in boxes.items()}
        there = points.copy()
        for k, row in enumerate(rows.tolist()):
            own = {role: column[k] for role, column in boxes.items()}
            change = Change()
            if rng is not None:
                change = draw_change(own, points[k], mirror=self.mirror, rng=rng)
            frames = [to_rgb(self.open(reference)) for reference in self.pictures[row]]
            pixels.append(np.stack([self._scaled(frame, change) for frame in frames]))
            for f, frame in enumerate(frames):
                exact = change.rounded(*frame.size)
                for role, column in own.items():
                    moved[role][k, [f]] = exact.boxes(column[[f]])
            there[k] = change.rounded(*frames[0].size).points(points[k])
        return Shown(torch.from_numpy(np.stack(pixels)), moved, there)

    def _scaled(self, picture: Image.Image, change: Change) -> UInt8[np.ndarray, "s s 3"]:
        """One picture, changed and scaled."""
        if change.part != (0.0, 0.0, 1.0, 1.0):
            picture = picture.crop(change.corners(*picture.size))
        if change.mirror:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return square(picture, self.size)
