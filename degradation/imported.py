"""Features that were computed elsewhere, as a cache like any other.

The arrays must be in the order of the table. Whether both sides saw the same pixels cannot be
checked, which is why the pair is marked as imported.
"""

import hashlib
import zlib
from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile

import h5py
import numpy as np
import pandas as pd
from jaxtyping import Float32, Int64

from degradation.cache import (
    Key,
    PairEntry,
    PixelProtocol,
    Shard,
    Storage,
    is_complete,
    open_store,
    pooled_name,
    write_pair,
)
from degradation.encoders.encoder import EncoderInfo
from degradation.errors import DataError
from degradation.tasks.task import Rows, TaskSpec

__all__ = ["digits_example", "import_features", "read_array", "read_table"]

_SHARD_ROWS = 4096


def read_array(source: str) -> np.ndarray:
    """An array from a file; nothing is ever unpickled.

    Args:
        source: `file.npy`; `file.npz` (with one array) or `file.npz:name`; `file.h5:dataset`.

    Raises:
        DataError: The file is missing or damaged, or the array is not named clearly.
    """
    name, colon, inner = source.rpartition(":")
    path, inner = (Path(name), inner) if colon and not Path(source).exists() else (Path(source), "")
    if not path.is_file():
        raise DataError(f"Expected an array file (npy, npz or HDF5), found nothing at {path}.")
    try:
        match path.suffix.lower():
            case ".npy":
                return np.load(path, allow_pickle=False)
            case ".npz":
                # Opened here, since numpy leaves the file open if it turns out not to be a zip.
                with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                    return arrays[_pick(path, inner, list(arrays))]
            case ".h5" | ".hdf5":
                with h5py.File(path, "r") as file:
                    return file[_pick(path, inner, _datasets(file))][()]
    except (OSError, ValueError, EOFError, BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path} cannot be read as an array of numbers ({error}). Save it as float32 with "
            "numpy.save or h5py; object arrays are refused, since reading them would run code."
        ) from error
    raise DataError(f"Expected .npy, .npz, .h5 or .hdf5, found {path.name!r}.")


def _datasets(file: h5py.File) -> list[str]:
    """Names of all datasets in a file."""
    names: list[str] = []
    file.visititems(
        lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None
    )
    return names


def _pick(path: Path, name: str, names: Sequence[str]) -> str:
    """The array that is meant: the one named, or the only one."""
    if not name and len(names) == 1:
        return names[0]
    if name.lstrip("/") not in names:
        found = ", ".join(names) or "none"
        raise DataError(
            f"Expected one array in {path}, or a name as in {path.name}:NAME; asked for {name!r}, "
            f"found {found}."
        )
    return name.lstrip("/")


def read_table(path: Path) -> pd.DataFrame:
    """The row table from a CSV or Parquet file; ids, labels, splits and clusters stay text.

    Args:
        path: The file.

    Raises:
        DataError: It is missing or cannot be read.
    """
    if not path.is_file():
        raise DataError(f"Expected a table (CSV or Parquet) at {path}, found nothing.")
    try:
        if path.suffix.lower() == ".parquet":
            return pd.read_parquet(path)
        # Empty cells stay missing, but a label "NA" or "None" is a label.
        return pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""])
    except (OSError, ValueError) as error:  # pandas' and pyarrow's parser errors are ValueErrors
        raise DataError(f"{path} cannot be read as CSV or Parquet ({error}).") from error


def digits_example() -> tuple[
    Float32[np.ndarray, "n 64"], Float32[np.ndarray, "n 16"], pd.DataFrame
]:
    """An example with a known loss: scikit-learn's handwritten digits before and after blurring.

    Returns:
        The 8 x 8 pixels, the same averaged to 4 x 4, and their table of ids and labels.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    fine = digits.images.astype(np.float32)
    coarse = fine.reshape(len(fine), 4, 2, 4, 2).mean((2, 4))
    table = pd.DataFrame(
        {"id": [f"digit-{i}" for i in range(len(fine))], "label": digits.target.astype(str)}
    )
    return fine.reshape(len(fine), 64), coarse.reshape(len(fine), 16), table


def import_features(
    pre: np.ndarray,
    post: np.ndarray,
    table: pd.DataFrame,
    *,
    root: Path,
    task: str,
    pair: str,
    classes: Sequence[str] | None = None,
    social: bool = True,
    source: str = "imported by the user",
    storage: Storage = "float32",
) -> tuple[PairEntry, ...]:
    """Write features computed elsewhere into the cache; one pair entry for each split.

    Args:
        pre: Features before, shape (n, d).
        post: Features after, shape (n, d'), rows in the same order; d' may differ from d.
        table: Row i describes row i of the arrays. Columns `id` and `label`; optional `split`
            (otherwise all rows are in the split `all`) and `cluster` (otherwise the id).
        root: Root of all caches.
        task: Name for the task.
        pair: Name for the pair.
        classes: Class names in order; by default the labels, sorted.
        social: False for a control task.
        source: Where the features come from.
        storage: Dtype on disk.

    Raises:
        DataError: Row counts differ, a column is missing or has gaps, an id is repeated, a label
            is not among the classes, or an array is not 2-dimensional, numeric and finite.
        CacheError: Another process writes the same cache, or the disk is full.
    """
    columns = _columns(table)
    arrays = {
        "pre": _checked("pre", pre, columns["id"]),
        "post": _checked("post", post, columns["id"]),
    }
    names = sorted(set(columns["label"])) if classes is None else list(classes)
    labels = _indices(columns, names)
    spec = TaskSpec(
        name=task,
        kind="classes",
        social=social,
        label_sets={"label": tuple(names)},
        roles=(),
        regions=("image",),
        metrics={"label": ("accuracy", "macro_f1")},
        cluster="cluster" if "cluster" in table else "id",
        source=source,
    )
    entries = []
    for split in dict.fromkeys(columns["split"]):
        index = np.flatnonzero(columns["split"] == split)
        rows = _rows(columns["id"][index], labels[index], columns["cluster"][index])
        address = {
            side: _write(root, spec, split, rows, f"{pair}/{side}", array[index], storage)
            for side, array in arrays.items()
        }
        entry = PairEntry(
            pair=pair,
            task=task,
            split=split,
            pre=address["pre"],
            post=address["post"],
            pictures=None,
            lineage="computed elsewhere",
            source=source,
            block=None,
            protocol=str(PixelProtocol(name="imported")),
            imported=True,
        )
        write_pair(root, entry)
        entries.append(entry)
    return tuple(entries)


def _columns(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """The columns id, label, split and cluster as text without gaps."""
    for name in ("id", "label"):
        if name not in table:
            raise DataError(
                f"The table needs the columns id and label (split and cluster are optional); "
                f"found {', '.join(map(str, table.columns))}."
            )
    columns = {}
    for name in ("id", "label", "split", "cluster"):
        if name in table:
            gaps = table[name].isna().to_numpy()
            if gaps.any():
                raise DataError(
                    f"Column {name!r} is empty in {gaps.sum()} of {len(table)} rows, first row "
                    f"{gaps.argmax()} (id {table['id'].iloc[gaps.argmax()]!r}). Fill it, or leave "
                    "the row out of the table and of both arrays."
                )
            columns[name] = table[name].astype(str).to_numpy(dtype=object)
    columns.setdefault("split", np.full(len(table), "all", dtype=object))
    columns.setdefault("cluster", columns["id"])
    ids, counts = np.unique(columns["id"].astype(str), return_counts=True)
    if len(ids) == 0:
        raise DataError("The table has no rows.")
    if counts.max() > 1:
        raise DataError(
            f"Ids must be unique, but {str(ids[counts.argmax()])!r} occurs {counts.max()} times."
        )
    return columns


def _checked(side: str, array: np.ndarray, ids: np.ndarray) -> Float32[np.ndarray, "n d"]:
    """The array as float32, after all checks."""
    if array.dtype.kind not in "fiu":
        raise DataError(
            f"The {side} array must hold numbers, found dtype {array.dtype}. Save it as float32."
        )
    if array.ndim != 2:
        raise DataError(
            f"The {side} array must have shape (rows, width), found {array.shape}. "
            "Pool or reshape it first."
        )
    if len(array) != len(ids):
        raise DataError(
            f"The table has {len(ids)} rows, but the {side} array has {len(array)}. "
            "Row i of the arrays must be row i of the table."
        )
    if array.shape[1] == 0:
        raise DataError(f"The {side} array has no columns.")
    with np.errstate(over="ignore"):
        values = array.astype(np.float32)
    if (bad := ~np.isfinite(values).all(axis=1)).any():
        raise DataError(
            f"The {side} array is not finite in float32 in {bad.sum()} rows, first id "
            f"{ids[bad.argmax()]!r}. Leave these rows out of the table and of both arrays."
        )
    return values


def _indices(columns: dict[str, np.ndarray], names: Sequence[str]) -> Int64[np.ndarray, " n"]:
    """Class index of each row."""
    place = {name: i for i, name in enumerate(names)}
    for row, label in zip(columns["id"], columns["label"], strict=True):
        if label not in place:
            raise DataError(
                f"Label {label!r} of id {row!r} is not among the classes: {', '.join(names)}."
            )
    return np.array([place[label] for label in columns["label"]], dtype=np.int64)


def _rows(ids: np.ndarray, labels: np.ndarray, clusters: np.ndarray) -> Rows:
    """Rows without pictures."""
    return Rows(
        ids=ids,
        pictures=np.full((len(ids), 1), "", dtype=object),
        boxes={},
        labels={"label": labels},
        points=np.zeros((len(ids), 0, 2), dtype=np.float32),
        clusters=clusters,
    )


def _write(
    root: Path,
    spec: TaskSpec,
    split: str,
    rows: Rows,
    name: str,
    features: Float32[np.ndarray, "n d"],
    storage: Storage,
) -> str:
    """Write one side of one split; returns its address."""
    sha = hashlib.sha256(str(features.shape).encode())
    sha.update(np.ascontiguousarray(features))
    info = EncoderInfo(
        name=name,
        digest=sha.hexdigest(),
        n_blocks=1,
        width=features.shape[1],
        size=0,
        patch=0,
        n_prefix=0,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
    )
    key = Key(
        task=spec,
        split=split,
        rows_digest=rows.digest(),
        encoder=name,
        digest=info.digest,
        protocol=PixelProtocol(name="imported", geometry="unknown", filter="unknown"),
        blocks=(0,),
        regions=("image",),
        token_blocks=(),
        storage=storage,
        compute="unknown",
        shard_rows=_SHARD_ROWS,
    )
    if is_complete(root, key):
        return key.address
    with open_store(root, key) as store:
        for number, start in enumerate(range(0, len(rows), _SHARD_ROWS)):
            part = features[start : start + _SHARD_ROWS]
            store.write(
                Shard(
                    number=number,
                    rows=np.arange(start, start + len(part)),
                    pixel_hashes=np.zeros((len(part), 0), dtype=np.uint8),
                    arrays={pooled_name("image"): part[:, None]},
                )
            )
        store.finish(rows, info, (0, 0))
    return key.address
