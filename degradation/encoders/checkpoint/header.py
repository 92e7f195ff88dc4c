"""The header of a safetensors file: eight bytes of length, JSON, then the tensors' bytes.

The same checks serve files on this disk and byte ranges of a hub's. They are those of the format:
every tensor's bytes are as many as its shape and type need, and together they fill the file with
neither gap nor overlap. A header that says otherwise is refused before any tensor is read.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from degradation.errors import WeightsError

__all__ = [
    "DTYPES",
    "LENGTH_BYTES",
    "Header",
    "Span",
    "TensorFacts",
    "excerpt",
    "header_bytes",
    "parse_header",
]

LENGTH_BYTES = 8
LONGEST = 25_000_000  # bytes of JSON; the hub reads no longer header either
METADATA = "__metadata__"
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "C64": torch.complex64,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class TensorFacts:
    """What a file says about a tensor before it is read.

    Attributes:
        shape: Its sides.
        dtype: Its type as safetensors writes it: `F32`, `BF16`, `I64`, ...
    """

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, slots=True)
class Header:
    """A header that has been checked against the size of its file.

    Attributes:
        tensors: Facts by tensor name, in the order of their bytes.
        spans: First byte and byte after the last in the file, by tensor name.
    """

    tensors: Mapping[str, TensorFacts]
    spans: Mapping[str, Span]


def header_bytes(start: bytes, size: int, source: str) -> int:
    """Bytes of a file before its tensors, the eight of the length included.

    Args:
        start: At least the first eight bytes of the file, if it has as many.
        size: Bytes of the whole file.
        source: The file, for the message.

    Raises:
        WeightsError: The file is shorter than it says, or this is not a safetensors file.
    """
    length = int.from_bytes(start[:LENGTH_BYTES], "little")
    if size < LENGTH_BYTES or length > LONGEST:
        raise WeightsError(
            f"Expected a safetensors file, but {source} does not begin like one. It is another "
            "kind of file or a page of a web site: download it again."
        )
    if LENGTH_BYTES + length > size:
        raise truncated(source, LENGTH_BYTES + length, size)
    return LENGTH_BYTES + length


def parse_header(start: bytes, size: int, source: str) -> Header:
    """The checked header of a file.

    Args:
        start: The file from its first byte at least to the end of its header.
        size: Bytes of the whole file.
        source: The file, for messages.

    Raises:
        WeightsError: The file is truncated, is not safetensors, or its header lies.
    """
    data_start = header_bytes(start, size, source)
    try:
        entries = json.loads(start[LENGTH_BYTES:data_start], object_pairs_hook=without_repeats)
        entries.pop(METADATA, None)
        tensors = {
            name: TensorFacts(counts(entry["shape"]), dtype_name(entry["dtype"]))
            for name, entry in entries.items()
        }
        spans = {name: counts(entry["data_offsets"]) for name, entry in entries.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise lies(source, f"it is not a table of tensors ({error})") from error
    order = sorted(tensors, key=lambda name: spans[name])
    end = 0
    for name in order:
        check_span(name, tensors[name], spans[name], end, source)
        end = spans[name][1]
    if data_start + end > size:
        raise truncated(source, data_start + end, size)
    if data_start + end < size:
        raise lies(source, f"the last {size - data_start - end} bytes belong to no tensor")
    return Header(
        tensors={name: tensors[name] for name in order},
        spans={name: (data_start + spans[name][0], data_start + spans[name][1]) for name in order},
    )


def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; a plain parser would silently keep the last of two equal names.

    Raises:
        ValueError: A name occurs twice.
    """
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("a name occurs twice")
    return table


def counts(numbers: Any) -> tuple[int, ...]:
    """A JSON list of whole numbers, none negative.

    Raises:
        ValueError: It is something else.
    """
    if not isinstance(numbers, list) or not all(type(n) is int and n >= 0 for n in numbers):
        raise ValueError(f"{numbers!r} is not a list of sizes")
    return tuple(numbers)


def dtype_name(name: Any) -> str:
    """A JSON string.

    Raises:
        ValueError: It is something else.
    """
    if not isinstance(name, str):
        raise ValueError(f"{name!r} is not a type")
    return name


def check_span(name: str, facts: TensorFacts, span: tuple[int, ...], end: int, source: str) -> None:
    """Refuse bytes that leave a gap after `end`, overlap what is there, or do not fit the shape.

    Raises:
        WeightsError: They do.
    """
    if len(span) != 2 or span[0] != end or span[1] < span[0]:
        raise lies(source, f"{name} takes bytes {list(span)}, but those before it end at {end}")
    dtype = DTYPES.get(facts.dtype)
    # A type that torch lacks is refused when it is read, not because it is there.
    if dtype is not None and math.prod(facts.shape) * dtype.itemsize != span[1] - span[0]:
        found = f"{facts.dtype} of shape {facts.shape}"
        raise lies(source, f"{name} is {found}, but takes {span[1] - span[0]} bytes")


def excerpt(
    header: Header, names: Iterable[str], metadata: Mapping[str, str]
) -> tuple[bytes, list[Span]]:
    """A smaller safetensors file of some tensors of a larger one.

    Args:
        header: Of the larger file.
        names: Tensors to take.
        metadata: Written into the smaller file's header.

    Returns:
        The smaller file's bytes up to its tensors, and the spans of the larger file that follow.
    """
    entries: dict[str, Any] = {METADATA: dict(metadata)}
    spans: list[Span] = []
    offset = 0
    for name in sorted(names, key=lambda name: header.spans[name]):
        start, stop = header.spans[name]
        entries[name] = {
            "dtype": header.tensors[name].dtype,
            "shape": list(header.tensors[name].shape),
            "data_offsets": [offset, offset + stop - start],
        }
        offset += stop - start
        if spans and spans[-1][1] == start:
            spans[-1] = (spans[-1][0], stop)
        else:
            spans.append((start, stop))
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % LENGTH_BYTES)
    return len(text).to_bytes(LENGTH_BYTES, "little") + text, spans


def truncated(source: str, expected: int, found: int) -> WeightsError:
    """The error for a file that ends too early."""
    return WeightsError(
        f"Expected {expected:,} bytes in {source}, as its header says, but found {found:,}: it is "
        "truncated. Copy or download it again."
    )


def lies(source: str, what: str) -> WeightsError:
    """The error for a header that cannot be true."""
    return WeightsError(
        f"Expected a safetensors file, but the header of {source} lies: {what}. Nothing was read. "
        "Copy or download it again; if it stays so, it was written wrongly."
    )
