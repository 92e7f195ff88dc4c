"""Features computed elsewhere become a cache like any other, or a clear refusal."""

import h5py
import numpy as np
import pandas as pd
import pytest

from degradation.cache import check_paired, listing, open_features, pairs, prune, verify
from degradation.errors import DataError
from degradation.imported import import_features, read_array, read_table

N = 12


def table(**columns):
    rows = {"id": [f"r{i}" for i in range(N)], "label": ["cat", "dog", "ant"] * 4}
    return pd.DataFrame(rows | columns)


def features(width, n=N):
    return np.random.default_rng(width).normal(size=(n, width))


def bring_in(root, pre=None, post=None, rows=None, **options):
    return import_features(
        features(5) if pre is None else pre,
        features(7) if post is None else post,
        table() if rows is None else rows,
        root=root,
        task="mine",
        pair="my/pair",
        **options,
    )


def test_import_is_a_cache_like_any_other(tmp_path):
    (entry,) = bring_in(tmp_path)
    assert pairs(tmp_path) == [entry]
    assert (entry.split, entry.imported, entry.protocol) == ("all", True, "imported v1")
    assert entry.pictures is None
    pre, post = open_features(tmp_path, entry.pre), open_features(tmp_path, entry.post)
    check_paired(pre, post)
    np.testing.assert_array_equal(pre.pooled(0, ["image"]), features(5).astype(np.float32))
    np.testing.assert_array_equal(post.pooled(0, ["image"]), features(7).astype(np.float32))
    assert pre.spec.label_sets == {"label": ("ant", "cat", "dog")}
    assert pre.rows.labels["label"].tolist() == [1, 2, 0] * 4
    assert pre.rows.clusters.tolist() == pre.rows.ids.tolist()
    assert (pre.spec.cluster, pre.regions, pre.blocks) == ("id", ("image",), (0,))
    assert (pre.encoder.name, post.encoder.width) == ("my/pair/pre", 7)
    assert verify(tmp_path) == []
    assert prune(tmp_path, apply=False) == []
    assert bring_in(tmp_path) == (entry,)


def test_splits_and_clusters(tmp_path):
    rows = table(split=["train"] * 5 + ["test"] * 7, cluster=["a", "b"] * 6)
    train, test = bring_in(tmp_path, rows=rows, classes=["dog", "cat", "ant", "owl"])
    assert (train.split, test.split) == ("train", "test")
    post = open_features(tmp_path, test.post)
    np.testing.assert_array_equal(post.pooled(0, ["image"]), features(7)[5:].astype(np.float32))
    assert post.rows.clusters.tolist() == (["a", "b"] * 6)[5:]
    assert post.rows.labels["label"].tolist() == [2, 1, 0, 2, 1, 0, 2]
    assert len(listing(tmp_path)) == 4


def test_other_features_get_another_address(tmp_path):
    (first,) = bring_in(tmp_path)
    (second,) = bring_in(tmp_path, pre=features(5) + 1)
    assert first.pre != second.pre
    assert first.post == second.post
    assert pairs(tmp_path) == [second]


def test_more_rows_than_a_shard_holds(tmp_path):
    n = 5000
    rows = pd.DataFrame({"id": range(n), "label": np.arange(n) % 2})
    (entry,) = bring_in(tmp_path, features(3, n), features(2, n), rows)
    pre = open_features(tmp_path, entry.pre)
    assert len(pre.shards) == 2
    np.testing.assert_array_equal(pre.pooled(0, ["image"]), features(3, n).astype(np.float32))


def with_value(value):
    array = features(5)
    array[3, 2] = value
    return array


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pre": features(5, 11)}, "12 rows, but the pre array has 11"),
        (
            {"post": with_value(np.nan)},
            "post array is not finite in float32 in 1 rows, first id 'r3'",
        ),
        ({"pre": with_value(-np.inf)}, "first id 'r3'"),
        ({"pre": with_value(1e300)}, "first id 'r3'"),
        ({"pre": np.zeros(N)}, r"shape \(rows, width\), found \(12,\)"),
        ({"pre": np.zeros((N, 2, 2))}, "Pool or reshape"),
        ({"pre": np.zeros((N, 0))}, "no columns"),
        ({"pre": np.full((N, 2), "a")}, "must hold numbers"),
        ({"pre": np.full((N, 2), None)}, "must hold numbers, found dtype object"),
        ({"rows": table(id=["r0", "r0", *(f"r{i}" for i in range(2, N))])}, "'r0' occurs 2 times"),
        ({"rows": table(label=[None, *"a" * 11])}, "'label' is empty in 1 of 12 rows, first row 0"),
        ({"rows": table(split=[np.nan, *"a" * 11])}, "'split' is empty"),
        ({"rows": table().drop(columns="label")}, "needs the columns id and label"),
        ({"rows": table()[:0]}, "no rows"),
        ({"classes": ["cat", "dog"]}, "Label 'ant' of id 'r2' is not among the classes: cat, dog"),
    ],
)
def test_refusals_say_what_and_where(tmp_path, options, message):
    with pytest.raises(DataError, match=message):
        bring_in(tmp_path, **options)
    assert list(tmp_path.iterdir()) == []


def test_arrays_are_read_from_npy_npz_and_hdf5(tmp_path):
    array = features(4)
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "one.npz", array)
    np.savez(tmp_path / "two.npz", x=array, y=array[:2])
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["deep/x"] = array
        file["y"] = array[:2]
    for source in ("a.npy", "one.npz", "two.npz:x", "a.h5:deep/x", "a.h5:/deep/x"):
        np.testing.assert_array_equal(read_array(f"{tmp_path}/{source}"), array)
    with pytest.raises(DataError, match=r"asked for '', found x, y"):
        read_array(f"{tmp_path}/two.npz")
    with pytest.raises(DataError, match=r"asked for 'z', found deep/x, y"):
        read_array(f"{tmp_path}/a.h5:z")


def test_unreadable_arrays_are_refused(tmp_path):
    np.save(tmp_path / "pickled.npy", np.array([{"code": 1}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "pickled.npz", np.array([{"code": 1}], dtype=object))
    (tmp_path / "cut.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04")
    (tmp_path / "empty.npy").write_bytes(b"")
    for name in ("pickled.npy", "pickled.npz", "cut.h5", "cut.npz", "empty.npy"):
        with pytest.raises(DataError, match="cannot be read as an array"):
            read_array(str(tmp_path / name))
    with pytest.raises(DataError, match="found nothing"):
        read_array(str(tmp_path / "none.npy"))
    (tmp_path / "a.txt").write_text("1")
    with pytest.raises(DataError, match=r"Expected \.npy"):
        read_array(str(tmp_path / "a.txt"))


def test_tables_are_read_as_text(tmp_path):
    (tmp_path / "t.csv").write_text("id,label\n001,NA\n002,\n")
    found = read_table(tmp_path / "t.csv")
    assert found["id"].tolist() == ["001", "002"]
    assert found["label"][0] == "NA"
    assert found["label"].isna().tolist() == [False, True]
    table().to_parquet(tmp_path / "t.parquet")
    pd.testing.assert_frame_equal(read_table(tmp_path / "t.parquet"), table(), check_dtype=False)
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    (tmp_path / "bad.csv").write_bytes(b'id,label\n"1,2\n')
    for name in ("bad.parquet", "bad.csv"):
        with pytest.raises(DataError, match="cannot be read as CSV"):
            read_table(tmp_path / name)
    with pytest.raises(DataError, match="found nothing"):
        read_table(tmp_path / "none.csv")
