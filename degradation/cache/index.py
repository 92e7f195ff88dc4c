"""The index of a cache: virtual datasets over the shards, and the rows they belong to.

Written last, so its presence means that the cache is complete. Names of shards are relative: a
cache can be moved or copied as a folder.
"""

import io
import json
from collections.abc import Sequence

import h5py
import numpy as np
from h5py import h5d, h5p, h5s, h5t

from degradation.cache.schema import SCHEMA_VERSION, Key, plain
from degradation.cache.shards import ShardCard
from degradation.encoders.encoder import EncoderInfo
from degradation.tasks.task import LeftOut, Rows

__all__ = ["index_image", "read_rows"]


def index_image(
    key: Key, encoder: EncoderInfo, grid: tuple[int, int], rows: Rows, cards: Sequence[ShardCard]
) -> memoryview:
    """Bytes of the index.

    Args:
        key: Key of the cache.
        encoder: Facts about the encoder.
        grid: Rows and columns of its patch grid; (0, 0) if imported.
        rows: The split as it was read; rows that the shards left out are moved to `left_out`.
        cards: All shards in order; one may be empty, not all.
    """
    split_ids = rows.ids
    kept = rows.take(np.concatenate([card.rows for card in cards]))
    left_out = kept.left_out + tuple(
        LeftOut(id=str(split_ids[row]), reason=reason)
        for card in cards
        for row, reason in card.left_out
    )
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs["schema_version"] = SCHEMA_VERSION
        file.attrs["grid"] = np.array(grid, dtype=np.int64)
        file.attrs["blocks"] = np.array(key.blocks, dtype=np.int64)
        file.attrs["protocol"] = str(key.protocol)
        file.attrs["split"] = key.split
        for name, record in (("task", key.task), ("encoder", encoder), ("key", key)):
            file.attrs[name] = json.dumps(plain(record), ensure_ascii=False)
        _write_rows(file, kept, left_out)
        file.create_dataset(
            "pixel_hashes", data=np.concatenate([card.pixel_hashes for card in cards])
        )
        _write_text(file, "shards/names", [card.name for card in cards])
        _write_text(file, "shards/sha256", [card.sha256 for card in cards])
        file.create_dataset("shards/counts", data=np.array([len(card.rows) for card in cards]))
        full = [card for card in cards if len(card.rows)]
        for name in full[0].shapes:
            _write_virtual(file, name, full)
    return buffer.getbuffer()


def _write_text(file: h5py.File, name: str, values: Sequence[str] | np.ndarray) -> None:
    """Store text as variable-length UTF-8."""
    file.create_dataset(name, data=np.asarray(values, dtype=object), dtype=h5py.string_dtype())


def _write_rows(file: h5py.File, rows: Rows, left_out: Sequence[LeftOut]) -> None:
    """Store the columns of the rows."""
    for name, column in (
        ("ids", rows.ids),
        ("pictures", rows.pictures),
        ("clusters", rows.clusters),
        ("left_out/ids", [row.id for row in left_out]),
        ("left_out/reasons", [row.reason for row in left_out]),
    ):
        _write_text(file, name, column)
    file.create_dataset("points", data=rows.points)
    file.create_dataset("sizes", data=rows.sizes)
    for group, columns in (("boxes", rows.boxes), ("labels", rows.labels)):
        # The order of label sets and roles is kept, which HDF5 alone would sort.
        parent = file.create_group(group, track_order=True)
        for name, column in columns.items():
            parent.create_dataset(name, data=column)
    if rows.attributes:  # no empty group: the index of other tasks stays as it was
        file.create_group("attributes", track_order=True)
    for name, column in rows.attributes.items():
        _write_text(file, f"attributes/{name}", column)


def _write_virtual(file: h5py.File, name: str, cards: Sequence[ShardCard]) -> None:
    """One dataset over the same dataset of all shards, in the widest of their dtypes.

    Through the low-level interface, since the high-level one stamps the time into the file, and
    equal caches must be equal files.
    """
    _, *inner = cards[0].shapes[name]
    shape = (sum(len(card.rows) for card in cards), *inner)
    dtype = np.result_type(*(card.dtypes[name] for card in cards))
    plist = h5p.create(h5p.DATASET_CREATE)
    plist.set_obj_track_times(False)
    plist.set_fill_value(np.array([np.nan], dtype=dtype))
    start = 0
    for card in cards:
        part = (len(card.rows), *inner)
        target, source = h5s.create_simple(shape), h5s.create_simple(part)
        target.select_hyperslab((start, 0, 0), part)
        plist.set_virtual(target, card.name.encode(), name.encode(), source)
        start += len(card.rows)
    group, leaf = name.split("/")
    parent = file.require_group(group)
    dataset = h5d.create(
        parent.id, leaf.encode(), h5t.py_create(dtype), h5s.create_simple(shape), dcpl=plist
    )
    h5py.Dataset(dataset).attrs["max_abs_error"] = max(card.errors[name] for card in cards)


def read_rows(file: h5py.File) -> Rows:
    """The rows in an index."""
    text = {name: file[name].asstr()[()] for name in ("ids", "pictures", "clusters")}
    left_out = zip(
        file["left_out/ids"].asstr()[:], file["left_out/reasons"].asstr()[:], strict=True
    )
    # Caches of earlier versions have no sizes; an empty column stands for none known.
    sizes = file["sizes"][()] if "sizes" in file else np.zeros((0, 2), dtype=np.int64)
    return Rows(
        **text,
        boxes={role: column[()] for role, column in file["boxes"].items()},
        labels={name: column[()] for name, column in file["labels"].items()},
        points=file["points"][()],
        left_out=tuple(LeftOut(id=name, reason=reason) for name, reason in left_out),
        sizes=sizes,
        attributes={
            name: column.asstr()[()] for name, column in file.get("attributes", {}).items()
        },
    )
