"""Inner products of the batch gradients of several tasks, and the file that keeps them.

Everything that is said about conflict follows from these numbers, so no gradient is kept. With
g_{i,m} the gradient of the mean loss of task i on batch m, restricted to one leaf of the model, and
S_i the sum of g_{i,m} over m:

    total      <S_i, S_j>               exact
    same       <g_{i,m}, g_{j,m}>       exact
    following  <g_{i,m}, g_{i,m+1}>     exact
    gram       <g_{i,m}, g_{j,n}>       from sketches

Where only sketches were taken, all four come from them, and `exact` is false.
"""

import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import h5py
import numpy as np
from jaxtyping import Float32, Float64

from degradation.cache.files import write_atomically
from degradation.errors import CacheError
from probes.conflict.leaves import Leaf

__all__ = ["SCHEMA", "Products", "read_products", "write_products"]

SCHEMA = 1
"""Version of the file; a reader refuses others."""
DOCUMENTATION = """Inner products of gradients g[i, m] of the mean loss of task i on batch m.
total[leaf, i, j] = <sum_m g[i, m], sum_m g[j, m]>; same[leaf, m, i, j] = <g[i, m], g[j, m]>;
following[leaf, m, i] = <g[i, m], g[i, m + 1]>; gram[leaf, :] = <g[i, m], g[j, n]> from sketches, as
the upper triangle, row by row, of a symmetric matrix whose row is i * batches + m; losses[m, i]."""
ARRAYS = ("total", "same", "following", "gram", "losses")


@dataclass(frozen=True, slots=True, eq=False)
class Products:
    """Inner products of batch gradients by leaf g, for T tasks and M batches each.

    Attributes:
        tasks: Names, in the order of every axis T.
        leaves: In the order of every axis g.
        parameters: How many each leaf holds.
        cells: Length of each leaf's sketch; equal to `parameters` where it is the gradient itself.
        total: Of the sums over batches.
        same: Of gradients of the same batch number.
        following: Of a task's gradients of consecutive batches.
        gram: Of all batch gradients, from sketches. float32: a sketch is far less exact than that.
        losses: Mean loss of each batch.
        exact: Whether all but `gram` are exact; if not, they come from sketches as well.
        preconditioned: Whether gradients were rescaled by a preconditioner.
        seed: Of the sketch.
    """

    tasks: tuple[str, ...]
    leaves: tuple[Leaf, ...]
    parameters: tuple[int, ...]
    cells: tuple[int, ...]
    total: Float64[np.ndarray, "g T T"]
    same: Float64[np.ndarray, "g M T T"]
    following: Float64[np.ndarray, "g M-1 T"]
    gram: Float32[np.ndarray, "g T M T M"]
    losses: Float64[np.ndarray, "M T"]
    exact: bool
    preconditioned: bool
    seed: int

    @property
    def batches(self) -> int:
        """M, batches of each task."""
        return len(self.losses)


def write_products(products: Products, path: Path) -> None:
    """Write the products as HDF5, whole or not at all; h5py alone can read them.

    Raises:
        CacheError: The disk is full or cannot be written.
    """
    image = io.BytesIO()
    n = len(products.tasks) * products.batches
    with h5py.File(image, "w") as file:
        file.attrs["schema"] = SCHEMA
        file.attrs["documentation"] = DOCUMENTATION
        file.attrs["about"] = json.dumps(
            {
                "tasks": products.tasks,
                "leaves": [asdict(leaf) for leaf in products.leaves],
                "parameters": products.parameters,
                "cells": products.cells,
                "exact": products.exact,
                "preconditioned": products.preconditioned,
                "seed": products.seed,
            }
        )
        gram = products.gram.reshape(-1, n, n)[:, *np.triu_indices(n)]
        for name in ARRAYS:
            values = gram if name == "gram" else getattr(products, name)
            # The checksum of every chunk is checked when it is read.
            file.create_dataset(name, data=values, fletcher32=True)
    write_atomically(path, image.getbuffer())


def read_products(path: Path) -> Products:
    """The products in a file of `write_products`.

    Raises:
        CacheError: The file is missing, damaged, or of another schema.
    """
    if not path.is_file():
        raise CacheError(
            f"Expected products of gradients at {path}, but there is no such file. "
            "Measure them with `sdiag gcd`."
        )
    try:
        with h5py.File(path, "r") as file:
            schema = int(file.attrs["schema"])
            about = json.loads(file.attrs["about"])
            arrays = {name: file[name][()] for name in ARRAYS}
    except (OSError, KeyError, ValueError) as error:
        raise CacheError(
            f"Expected products of gradients in {path}, but the file is damaged or something else: "
            f"{error}. Measure again with `sdiag gcd`."
        ) from error
    if schema != SCHEMA:
        raise CacheError(
            f"Expected schema {SCHEMA} in {path}, found {schema}. Measure again with `sdiag gcd`, "
            "or read it with the version that wrote it."
        )
    return _assembled(about, arrays, path)


def _assembled(about: dict, arrays: dict[str, np.ndarray], path: Path) -> Products:
    """The record, after a check of every shape."""
    batches, tasks = arrays["losses"].shape
    leaves, n = len(about["leaves"]), batches * tasks
    expected = {
        "total": (leaves, tasks, tasks),
        "same": (leaves, batches, tasks, tasks),
        "following": (leaves, batches - 1, tasks),
        "gram": (leaves, n * (n + 1) // 2),
        "losses": (batches, len(about["tasks"])),
    }
    for name, shape in expected.items():
        if arrays[name].shape != shape or not np.isfinite(arrays[name]).all():
            raise CacheError(
                f"Expected finite numbers of shape {shape} under {name!r} in {path}, found shape "
                f"{arrays[name].shape}. The file is damaged: measure again with `sdiag gcd`."
            )
    gram = np.zeros((leaves, n, n), dtype=np.float32)
    rows, columns = np.triu_indices(n)
    gram[:, rows, columns] = arrays["gram"]
    gram[:, columns, rows] = arrays["gram"]
    return Products(
        tasks=tuple(about["tasks"]),
        leaves=tuple(Leaf(**leaf) for leaf in about["leaves"]),
        parameters=tuple(about["parameters"]),
        cells=tuple(about["cells"]),
        total=arrays["total"],
        same=arrays["same"],
        following=arrays["following"],
        gram=gram.reshape(leaves, tasks, batches, tasks, batches),
        losses=arrays["losses"],
        exact=about["exact"],
        preconditioned=about["preconditioned"],
        seed=about["seed"],
    )
