import json
import random

import pytest
import safetensors
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from degradation.encoders.checkpoint.files import open_file
from degradation.encoders.checkpoint.header import DTYPES, excerpt, parse_header
from degradation.errors import WeightsError


def build(entries, data=b"", *, length=None):
    text = json.dumps(entries).encode() if not isinstance(entries, bytes) else entries
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(dtype="F32", shape=(2,), span=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(span)}


DTYPE = st.sampled_from([t for t in DTYPES.values() if not t.is_complex])
SHAPE = st.lists(st.integers(0, 3), max_size=3)


@given(st.dictionaries(st.text(max_size=5), st.tuples(DTYPE, SHAPE), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_whatever_safetensors_writes_is_read_as_safetensors_reads_it(tmp_path_factory, tensors):
    if "__metadata__" in tensors:
        return
    state = {name: torch.ones(shape).to(dtype) for name, (dtype, shape) in tensors.items()}
    path = tmp_path_factory.mktemp("one") / "x.safetensors"
    path.write_bytes(save(state, metadata={"format": "pt"}))
    file = open_file(path)
    found = file.read(list(state))
    for name, expected in load(path.read_bytes()).items():
        facts = file.tensors[name]
        assert facts.shape == tuple(expected.shape)
        assert DTYPES[facts.dtype] == expected.dtype == found[name].dtype
        assert found[name].shape == expected.shape
        assert torch.equal(found[name].float(), expected.float())


def damaged(rng):
    """A safetensors file with one thing wrong in its header, or nothing that matters."""
    data = save({"a": torch.ones(3, 2), "b": torch.ones(5).half(), "c": torch.ones(0)})
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    name = rng.choice(list(header))
    longer = 0
    match rng.randrange(6):
        case 0:
            header[name]["data_offsets"][rng.randrange(2)] += rng.choice([-2, 2, 10**12])
        case 1:
            header[name]["shape"] = rng.choice([[3], [6], [1, 6], [], [-1], [2.0], "6", [0]])
        case 2:
            header[name]["dtype"] = rng.choice(["F32", "F16", "BF16", "I64", 3, None, "U8"])
        case 3:
            del header[name][rng.choice(list(header[name]))]
        case 4:
            header = {n: header[n] for n in rng.sample(list(header), rng.randrange(3))}
        case 5:
            longer = rng.choice([-1, 1, 2**40])
    text = json.dumps(header).encode()
    return build(text, data[end:], length=len(text) + longer)


def test_a_header_is_refused_exactly_when_safetensors_refuses_it():
    verdicts = []
    for seed in range(300):
        data = damaged(random.Random(seed))
        try:
            safetensors.deserialize(data)
        except Exception:
            verdicts.append(False)
            with pytest.raises(WeightsError):
                parse_header(data, len(data), f"seed {seed}")
        else:
            verdicts.append(True)
            parse_header(data, len(data), f"seed {seed}")
    assert 20 < sum(verdicts) < 280


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "does not begin like one"),
        (b"<!DOCTYPE html><html>", "does not begin like one"),
        (build({"a": entry()}, b"12345678", length=10**6), "Expected 1,000,008 bytes .* truncated"),
        (build({"a": entry()}, b"1234567"), r"Expected \d+ bytes .* truncated"),
        (build({"a": entry()}, b"123456789"), "the last 1 bytes belong to no tensor"),
        (build({"a": entry(shape=(3,))}, b"12345678"), r"a is F32 of shape \(3,\), but takes 8"),
        (
            build({"a": entry(), "b": entry(span=(4, 12))}, b"0" * 12),
            r"b takes bytes \[4, 12\], but those before it end at 8",
        ),
        (
            build({"a": entry(), "b": entry(span=(12, 20))}, b"0" * 20),
            r"b takes bytes \[12, 20\], but those before it end at 8",
        ),
        (build({"a": entry(span=(8, 0))}, b"12345678"), r"a takes bytes \[8, 0\]"),
        (build({"a": entry(span=(0, 8, 9))}, b"12345678"), r"a takes bytes \[0, 8, 9\]"),
        (build({"a": entry(shape=(-2,))}, b"12345678"), r"\[-2\] is not a list of sizes"),
        (build({"a": entry(shape=(True, 2))}, b"12345678"), "is not a list of sizes"),
        (build({"a": {}}), "not a table of tensors"),
        (build([]), "not a table of tensors"),
        (build(b"{" * 9), "not a table of tensors"),
        (build(b"[" * 100_000), "not a table of tensors"),
        (build(b'{"a": ' + json.dumps(entry()).encode() + b', "a": {}}', b"0" * 8), "twice"),
    ],
)
def test_a_lying_header_is_named(data, message):
    with pytest.raises(WeightsError, match=message):
        parse_header(data, len(data), "x.safetensors")


def test_a_type_that_torch_lacks_is_refused_only_when_it_is_read(tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(build({"a": entry(), "q": entry("F4", (8,), (8, 12))}, b"\0" * 12))
    file = open_file(path)
    assert torch.equal(file.read(["a"])["a"], torch.zeros(2))
    with pytest.raises(WeightsError, match=r"q in .* is F4\. The checkpoint is quantised"):
        file.read(["q"])


def test_an_excerpt_is_a_safetensors_file_of_the_chosen_tensors(state, same):
    data = save(state)
    names = ["visual.scale", "visual.positions", "lm_head.weight", "visual.zempty"]
    head, spans = excerpt(parse_header(data, len(data), "x"), names, {"from": "here"})
    small = head + b"".join(data[start:stop] for start, stop in spans)
    assert same(load(small), {name: state[name] for name in names})
    # The largest types stand first in a file, so scale and positions touch: one span for both.
    assert len(spans) < len(names)
