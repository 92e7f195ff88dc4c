"""What the attentive probe reads: token maps with the shares by which regions were pooled."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64

from degradation.axes import Side
from degradation.errors import DataError
from degradation.pooling import box_weights
from probes.diagnosis.alignment import standardise
from probes.diagnosis.networks import Network, attentive
from probes.table import Table

__all__ = ["attentive_builder"]

LARGEST = 8 * 2**30
"""Bytes of token maps that are held in memory at once, one side and block."""
SAMPLE, TOLERANCE = 64, 0.05
"""Rows on which the shares have to rebuild the pooled features, and how well: in deviations of
each feature, about ten times the rounding of maps stored in float16."""


def attentive_builder(
    table: Table, side: Side, block: int, regions: Sequence[str], n_classes: int, rows: np.ndarray
) -> Callable[[Int64[np.ndarray, " _"]], Network]:
    """The attentive probe of one side and block, standardised by the rows that it is given.

    Args:
        table: With token maps of the block in every split.
        side: Pre or post.
        block: The block.
        regions: Whose tokens are read.
        n_classes: Number of classes.
        rows: All rows that will be fitted or predicted.

    Raises:
        DataError: If there are no token maps, they are of tracks or too large for the memory set
            aside, or the boxes do not say which of them a region pools.
    """
    frames = table.features[table.splits[0]][side].rows.pictures.shape[1]
    if frames > 1:
        raise DataError(
            f"Expected single pictures for the attentive probe, but a sample of {table.spec.name} "
            f"is a track of {frames} frames. The attentive probe is left out."
        )
    if missing := [
        split for split, sides in table.features.items() if block not in sides[side].token_blocks
    ]:
        raise DataError(
            f"Expected token maps of block {block} for the attentive probe, found none for the "
            f"split {missing[0]}. Extract with --token-block {block}."
        )
    width = table.features[table.splits[0]][side].encoder.width
    tokens_in_all = len(table.ids) * int(np.prod(table.features[table.splits[0]][side].grid))
    if (size := tokens_in_all * width * 4) > LARGEST:
        raise DataError(
            f"Expected token maps of at most {LARGEST / 2**30:.0f} GiB, found "
            f"{size / 2**30:.0f} GiB. Probe a row list."
        )
    tokens = _tokens(table, side, block)
    shares = _region_shares(table, side, regions, rows)
    pooled = table.pooled(side, block, regions)
    _check(tokens, shares, pooled, rows)
    maps, by_region = torch.from_numpy(tokens), torch.from_numpy(shares)

    def build(fitted: Int64[np.ndarray, " _"]) -> Network:
        mean, scale = standardise(pooled[fitted])
        parts = [
            torch.from_numpy(one.reshape(len(regions), -1).astype(np.float32))
            for one in (mean, scale)
        ]
        return attentive(maps, by_region, *parts, n_classes)

    return build


def _tokens(table: Table, side: Side, block: int) -> Float32[np.ndarray, "n t d"]:
    """Token maps of all rows of the table."""
    parts = []
    for split, sides in table.features.items():
        part = sides[side].tokens(block)
        parts.append(part[table.chosen[split]] if table.chosen else part)
    return np.concatenate(parts)


def _region_shares(
    table: Table, side: Side, regions: Sequence[str], rows: Int64[np.ndarray, " _"]
) -> Float32[np.ndarray, "n r t"]:
    """By which share each token is in the pooled feature of each region; zero for other rows."""
    grid = table.features[table.splits[0]][side].grid
    shares = np.zeros((len(table.ids), len(regions), grid[0] * grid[1]), dtype=np.float32)
    for r, region in enumerate(regions):
        shares[rows, r] = (
            1 / shares.shape[2]
            if region == "image"
            else box_weights(table.boxes[region][rows], grid)
        )
    return shares


def _check(
    tokens: Float32[np.ndarray, "n t d"],
    shares: Float32[np.ndarray, "n r t"],
    pooled: Float32[np.ndarray, "n p"],
    rows: Int64[np.ndarray, " _"],
) -> None:
    """Refuse token maps whose weighted means are not the pooled features."""
    sample = rows[:: max(1, len(rows) // SAMPLE)]
    found: Float64[np.ndarray, "k p"] = np.einsum(
        "nrt,ntd->nrd", shares[sample], tokens[sample], dtype=np.float64
    ).reshape(len(sample), -1)
    error = np.abs(found - pooled[sample]).max(axis=0)
    if (error > TOLERANCE * np.maximum(pooled[rows].std(axis=0), 1e-6)).any():
        raise DataError(
            "Expected pooled features that are means of the token maps over the boxes, found "
            "others: they were pooled or placed in another way (--pool, --geometry). The "
            "attentive probe is left out."
        )
