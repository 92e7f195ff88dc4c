"""The protocol record: its name, its JSON, what it refuses, and the addresses it leads to."""

import json
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from degradation.cache import Key, PixelProtocol
from degradation.cache.schema import plain
from degradation.errors import CacheError, ConfigError, PairingError
from degradation.geometry import Geometry
from degradation.protocol import (
    STATISTICS,
    Protocol,
    check_same_pixels,
    pixel_record,
    protocol_from,
    protocol_of,
)
from degradation.tasks.task import TaskSpec

SPEC = TaskSpec(
    name="t", kind="classes", social=True, label_sets={"l": ("a", "b")}, roles=("face",),
    regions=("face",), metrics={"l": ("accuracy",)}, cluster="picture", source="test",
)  # fmt: skip
STANDARD = Protocol(geometry=Geometry(size=32))
OTHER_GEOMETRIES = [
    Geometry("pad", 32),
    Geometry("short-crop", 32),
    Geometry("native"),
    Geometry("native", multiple=32),
    Geometry("native", min_pixels=784),
    Geometry("native", max_pixels=1_003_520),
    Geometry("squash", 32, "bilinear"),
    Geometry("squash", 32, "bilinear-float"),
    Geometry("squash", 32, crop="face"),
    Geometry("squash", 32, crop="person_a"),
    Geometry("squash", 32, crop="face", margin=0.25),
]
OTHER_FEATURES = [
    {"normalisation": "shared:clip"},
    {"normalisation": "shared:imagenet"},
    {"positions": "bicubic"},
    {"stage": "native_norm"},
    {"pool": "cls"},
    {"pool": "grid:2x2"},
    {"pool": "grid:12x12"},
]


def key_of(protocol: PixelProtocol) -> Key:
    return Key(
        task=SPEC, split="test", rows_digest="r", encoder="tiny:pre", digest="d",
        protocol=protocol, blocks=(0, 1), regions=("image", "face"), token_blocks=(),
        storage="float16", compute="float32", shard_rows=256,
    )  # fmt: skip


# Options, not records: what checks the annotations draws random numbers, which strategies may not.
COMMON = {
    "filter": st.sampled_from(["bicubic", "bilinear", "bilinear-float"]),
    "cut": st.sampled_from([("", 0.0), ("face", 0.0), ("face", 0.25), ("person_a", 1e-7)]),
    "normalisation": st.sampled_from(["native", *(f"shared:{name}" for name in STATISTICS)]),
    "positions": st.sampled_from(["none", "bicubic"]),
    "stage": st.sampled_from(["block", "native_norm"]),
    "pool": st.sampled_from(["mean", "cls", "max", "gem", "grid:1x1", "grid:12x12"]),
    "blocks": st.none() | st.lists(st.integers(0, 99), max_size=4).map(tuple),
    "token_blocks": st.lists(st.integers(0, 99), max_size=4).map(tuple),
    "dtype": st.sampled_from(["float32", "bfloat16"]),
}
SIZES = st.integers(1, 10_000)
options = st.one_of(
    st.fixed_dictionaries(
        COMMON | {"kind": st.sampled_from(["squash", "short-crop"]), "size": SIZES}
    ),
    st.fixed_dictionaries(
        COMMON | {"kind": st.just("pad"), "size": SIZES, "mask_pad": st.booleans()}
    ),
    st.fixed_dictionaries(
        COMMON
        | {
            "kind": st.just("native"),
            "min_pixels": st.sampled_from([1, 3136]),
            "max_pixels": st.integers(3136, 10**8),
            "multiple": st.sampled_from([14, 28, 32]),
        }
    ),
)


def made_of(options: dict) -> Protocol:
    rest = dict(options)
    crop, margin = rest.pop("cut")
    names = {one.name for one in fields(Geometry)}
    knobs = {name: rest.pop(name) for name in list(rest) if name in names}
    return Protocol(geometry=Geometry(crop=crop, margin=margin, **knobs), **rest)


# ---------------------------------------------------------------- names and addresses


def test_the_default_keeps_its_name_and_the_address_of_its_caches():
    protocol = PixelProtocol(**pixel_record(STANDARD))
    assert str(STANDARD) == str(protocol) == "paired-native-grid v1"
    assert protocol == PixelProtocol(size=32)
    assert key_of(protocol).address == "t.test.tiny-pre-e2e3abf5.e507d5a81fead040"


@pytest.mark.parametrize(
    "changed",
    [
        replace(STANDARD, geometry=Geometry(size=224)),
        replace(STANDARD, blocks=(3,)),
        replace(STANDARD, token_blocks=(3,)),
        replace(STANDARD, dtype="bfloat16"),
    ],
)
def test_what_the_key_holds_on_its_own_does_not_change_the_name(changed):
    assert changed != STANDARD
    assert str(changed) == "paired-native-grid v1"


def test_every_other_knob_changes_name_and_address():
    others = [replace(STANDARD, geometry=geometry) for geometry in OTHER_GEOMETRIES]
    others += [replace(STANDARD, **knobs) for knobs in OTHER_FEATURES]
    others += [Protocol(geometry=Geometry("pad", 32), mask_pad=False)]
    names = {one.name for one in others}
    keys = {key_of(PixelProtocol(**pixel_record(one))).address for one in others}
    assert len(names) == len(keys) == len(others)
    assert STANDARD.name not in names
    assert all("|" not in name for name in names)  # which separates the parts of a signature


def test_a_name_says_what_differs_and_carries_a_digest():
    protocol = Protocol(geometry=Geometry("pad", 336), pool="cls")
    assert str(protocol) == "paired(geometry=pad,pool=cls)-988366aa v1"


def test_every_knob_decides_either_pixels_or_features():
    pixels, features = STANDARD.pixels, STANDARD.features
    assert not pixels.keys() & features.keys()
    knobs = {one.name for one in fields(Geometry)} - {"kind"} | {
        one.name for one in fields(Protocol)
    }
    assert pixels.keys() | features.keys() == knobs
    assert pixels["geometry"] == "squash"


# ---------------------------------------------------------------- records


@settings(deadline=None)
@given(options=options)
def test_records_come_back(options):
    protocol = made_of(options)
    assert protocol_from(protocol.json) == protocol
    record = plain(PixelProtocol(**pixel_record(protocol)))
    apart = {name: getattr(protocol, name) for name in ("blocks", "token_blocks", "dtype")}
    assert protocol_of(json.loads(json.dumps(record)), **apart) == protocol


@settings(deadline=None)
@given(
    one=options, changed=st.sampled_from(["size", "blocks", "dtype", "pool", "filter"]), to=options
)
def test_names_are_equal_if_and_only_if_the_named_knobs_are(one, changed, to):
    other = one | {changed: to[changed]} if changed in one and changed in to else to
    first, second = made_of(one), made_of(other)
    apart = ("size", "blocks", "token_blocks", "dtype")
    named = [
        {knob: value for knob, value in (p.pixels | p.features).items() if knob not in apart}
        for p in (first, second)
    ]
    assert (first.name == second.name) == (named[0] == named[1])


def test_knobs_left_out_of_the_json_are_the_default():
    assert protocol_from("{}") == Protocol()
    assert protocol_from('{"geometry": {"kind": "pad", "size": 98}}').geometry == Geometry(
        "pad", 98
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "the text cannot be used: Invalid JSON"),
        ("[]", "the text cannot be used"),
        ('{"tiles": 4}', "tiles cannot be used: Unexpected"),
        ('{"geometry": {"side": 4}}', r"geometry\.side cannot be used: Unexpected"),
        ('{"geometry": {"kind": "stretch"}}', r"geometry\.kind cannot.*Found 'stretch'"),
        ('{"geometry": {"filter": "nearest"}}', r"geometry\.filter cannot.*bicubic"),
        ('{"geometry": {"size": -3}}', "size from 1 to 10000"),
        ('{"blocks": [1.5]}', r"blocks\.0 cannot be used"),
        ('{"positions": "linear"}', "positions cannot be used"),
        ('{"stage": "connector"}', "stage cannot be used"),
        ('{"dtype": "float16"}', "dtype cannot be used"),
        ('{"pool": "median"}', "Expected pooling by mean, cls.*found 'median'"),
        ('{"pool": "grid:2x3"}', "found 'grid:2x3'"),
        ('{"pool": "grid:0x0"}', "found 'grid:0x0'"),
        ('{"normalisation": "clip"}', "native, shared:clip.*found 'clip'"),
        ('{"normalisation": "shared:native"}', "found 'shared:native'"),
        ('{"mask_pad": false}', "mask_pad belongs to geometry pad.*is squash"),
    ],
)
def test_what_is_no_protocol_is_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        protocol_from(text)


def test_a_protocol_without_a_side_has_no_record_yet():
    with pytest.raises(ConfigError, match="no picture side yet"):
        pixel_record(Protocol())
    assert pixel_record(Protocol(geometry=Geometry("native")))["size"] == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2},
        {"name": "imported"},
        {"name": "paired(geometry=pad)-00000000", "geometry": "pad"},
        {"geometry": "pad"},
        {"filter": "bilinear"},
        {"name": "paired(tiles=4)-00000000"},
        {"name": "paired(pad)-00000000"},
    ],
)
def test_records_of_other_versions_or_altered_ones_are_refused(changes):
    record = pixel_record(STANDARD) | changes
    with pytest.raises(CacheError, match="protocol of version 1, found"):
        protocol_of(record, blocks=(0,), token_blocks=(), dtype="float32")


def test_what_the_feature_knobs_stand_for():
    assert STANDARD.pool_grid is None
    assert replace(STANDARD, pool="grid:7x7").pool_grid == 7
    assert STANDARD.statistics is None
    mean, std = replace(STANDARD, normalisation="shared:imagenet").statistics
    assert (mean, std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def test_shared_statistics_are_those_of_transformers():
    from transformers import image_utils

    for name, prefix in (("clip", "OPENAI_CLIP"), ("imagenet", "IMAGENET_DEFAULT"),
                         ("half", "IMAGENET_STANDARD")):  # fmt: skip
        mean, std = (getattr(image_utils, f"{prefix}_{what}") for what in ("MEAN", "STD"))
        assert STATISTICS[name] == (tuple(mean), tuple(std))


# ---------------------------------------------------------------- refusal to compare

IDS = np.array(["a", "b", "c"], dtype=object)
HASHES = np.arange(48, dtype=np.uint8).reshape(3, 16)


def check(pre: Protocol, post: Protocol, one: np.ndarray = HASHES, other: np.ndarray = HASHES):
    check_same_pixels(pre, post, ids=IDS, pre_hashes=one, post_hashes=other)


@pytest.mark.parametrize(
    ("pre", "post", "message"),
    [
        (Geometry(size=32), Geometry("pad", 32), "geometry is 'squash' before and 'pad' after"),
        (Geometry(size=32), Geometry(size=64), "size is 32 before and 64 after.*same --size"),
        (Geometry(size=32), Geometry("pad", 64, "bilinear"), "geometry is 'squash' before"),
        (Geometry(size=8), Geometry(size=8, filter="bilinear"), "filter is 'bicubic' before"),
        (
            Geometry("native"),
            Geometry("native", max_pixels=10**6),
            "max_pixels is 12845056 be.*--max-p",
        ),
        (Geometry("native"), Geometry("native", min_pixels=1), "min_pixels is 3136 before"),
        (Geometry("native"), Geometry("native", multiple=32), "multiple is 28 before and 32"),
        (Geometry(size=8), Geometry(size=8, crop="face"), "crop is '' before and 'face' after"),
        (
            Geometry(size=8, crop="face"),
            Geometry(size=8, crop="face", margin=1.0),
            "margin is 0.0 b",
        ),
    ],
)
def test_other_pixels_are_refused_with_the_first_knob_that_differs(pre, post, message):
    with pytest.raises(PairingError, match=message):
        check(Protocol(geometry=pre), Protocol(geometry=post))


def test_other_hashes_are_refused_with_the_first_id():
    changed = HASHES.copy()
    changed[1:, 3] += 1
    with pytest.raises(PairingError, match="2 of 3 rows differ, first 'b'"):
        check(STANDARD, STANDARD, HASHES, changed)
    with pytest.raises(PairingError, match="only one side"):
        check(STANDARD, STANDARD, HASHES, HASHES[:, :0])


def test_the_same_pixels_may_be_compared_whatever_is_made_of_them():
    check(STANDARD, STANDARD)
    check(STANDARD, replace(STANDARD, pool="cls", blocks=(1,), dtype="bfloat16"))
    check(STANDARD, STANDARD, HASHES[:, :0], HASHES[:, :0])
