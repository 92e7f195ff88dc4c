"""The file of products: what was written comes back, and damage is noticed."""

from dataclasses import fields, replace

import h5py
import numpy as np
import pytest

from degradation.errors import CacheError
from probes.conflict.products import read_products, write_products
from probes.conflict.simulation import products_of


@pytest.fixture
def products():
    return products_of(np.random.default_rng(0).normal(size=(3, 5, 40)), leaves=4)


def test_products_come_back_as_they_were(products, tmp_path):
    write_products(products, tmp_path / "gcd-products-pre.h5")
    back = read_products(tmp_path / "gcd-products-pre.h5")
    for field in fields(products):
        value, own = getattr(products, field.name), getattr(back, field.name)
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(own, value)
            assert own.dtype == value.dtype
        else:
            assert own == value
    assert back.batches == 5


def test_h5py_alone_can_read_them(products, tmp_path):
    path = tmp_path / "products.h5"
    write_products(products, path)
    with h5py.File(path) as file:
        assert "upper" in file.attrs["documentation"]
        gram = file["gram"][2]
    rows, columns = np.triu_indices(15)
    matrix = np.zeros((15, 15), dtype=np.float32)
    matrix[rows, columns] = gram
    assert matrix[1 * 5 + 2, 2 * 5 + 4] == products.gram[2, 1, 2, 2, 4]


def test_no_products(tmp_path):
    with pytest.raises(CacheError, match="no such file"):
        read_products(tmp_path / "products.h5")


def test_a_flipped_bit_is_noticed(products, tmp_path):
    path = tmp_path / "products.h5"
    write_products(products, path)
    data = bytearray(path.read_bytes())
    place = bytes(data).index(products.total.tobytes())
    data[place + 11] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(CacheError, match="damaged"):
        read_products(path)


@pytest.mark.parametrize("kept", [0, 100, 3000])
def test_a_file_that_was_cut_off_is_refused(kept, products, tmp_path):
    path = tmp_path / "products.h5"
    write_products(products, path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CacheError, match="damaged"):
        read_products(path)


def test_another_schema_is_refused(products, tmp_path):
    path = tmp_path / "products.h5"
    write_products(products, path)
    with h5py.File(path, "r+") as file:
        file.attrs["schema"] = 7
    with pytest.raises(CacheError, match=r"schema 1 .* found 7"):
        read_products(path)


@pytest.mark.parametrize("name", ["total", "same", "following", "gram", "losses"])
def test_arrays_that_do_not_fit_are_refused(name, products, tmp_path):
    path = tmp_path / "products.h5"
    write_products(products, path)
    with h5py.File(path, "r+") as file:
        values = file[name][:-1]
        del file[name]
        file[name] = values
    with pytest.raises(CacheError, match=r"[Ee]xpected"):
        read_products(path)


def test_numbers_that_are_not_finite_are_refused(products, tmp_path):
    path = tmp_path / "products.h5"
    total = products.total.copy()
    total[0, 0, 0] = np.nan
    write_products(replace(products, total=total), path)
    with pytest.raises(CacheError, match="finite numbers"):
        read_products(path)
