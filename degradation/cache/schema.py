"""What a feature cache is called and which facts decide its content.

A cache is one folder, `<root>/features/<address>/`. Its address ends in a hash over its `Key`:
everything that decides the numbers inside. Two runs with equal keys share a cache; changing
anything makes another one. `docs/cache-schema.md` describes the files.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

from degradation.encoders.encoder import EncoderInfo, Origin
from degradation.errors import CacheError
from degradation.tasks.task import Arm, TaskSpec

__all__ = [
    "INDEX",
    "KEY",
    "SCHEMA_VERSION",
    "Key",
    "PixelProtocol",
    "Storage",
    "encoder_from",
    "features_folder",
    "key_from",
    "pictures_folder",
    "plain",
    "shard_name",
    "shard_number",
    "slug",
    "spec_from",
]

SCHEMA_VERSION = 1
LATER = ("arms", "balanced", "crop")  # fields of a task
INDEX = "index.h5"
KEY = "key.json"

Storage = Literal["float16", "float32"]

_SHARD = re.compile(r"shard-(\d{5,})-([0-9a-f]{16})\.h5")
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)")  # device names on Windows


@dataclass(frozen=True, slots=True)
class PixelProtocol:
    """How a picture becomes the pixels that both encoders see.

    Attributes:
        name: `paired-native-grid`, or `imported` where the features were computed elsewhere.
        version: Raised whenever the same picture would give other pixels.
        geometry: `squash`: both sides are scaled to `size`, whatever the aspect ratio.
        filter: Resampling filter.
        size: Picture side in pixels; 0 if imported.
    """

    name: str = "paired-native-grid"
    version: int = 1
    geometry: str = "squash"
    filter: str = "bicubic"
    size: int = 0

    def __str__(self) -> str:
        """Name and version, as reports print it."""
        return f"{self.name} v{self.version}"


@dataclass(frozen=True, slots=True)
class Key:
    """Everything that decides the content of a cache.

    Attributes:
        task: What is asked of the rows.
        split: Split of the task.
        rows_digest: `Rows.digest()` of the split as it was read.
        encoder: Name of the encoder.
        digest: Digest of its weights.
        protocol: How pictures became pixels.
        blocks: Blocks whose pooled features are stored, in stored order.
        regions: Pooled regions.
        token_blocks: Blocks whose token maps are stored.
        storage: Dtype on disk; a shard that float16 would harm is float32 all the same.
        compute: Dtype of the encoder's arithmetic.
        shard_rows: Rows of the split that one shard covers.
        schema_version: Version of the layout.
    """

    task: TaskSpec
    split: str
    rows_digest: str
    encoder: str
    digest: str
    protocol: PixelProtocol
    blocks: tuple[int, ...]
    regions: tuple[str, ...]
    token_blocks: tuple[int, ...]
    storage: Storage
    compute: str
    shard_rows: int
    schema_version: int = SCHEMA_VERSION

    @property
    def hash(self) -> str:
        """SHA-256 over the canonical JSON of the key, in hexadecimal.

        Fields of `LATER` came after the first caches; they count where they say something, so that
        these caches keep their address.
        """
        record = plain(self)
        for name in LATER:
            if not record["task"][name]:
                del record["task"][name]
        text = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def address(self) -> str:
        """Folder name: `<task>.<split>.<encoder>.<16 hex digits>`."""
        names = (slug(self.task.name), slug(self.split), slug(self.encoder))
        return ".".join((*names, self.hash[:16]))


def slug(name: str) -> str:
    """A name that is safe on any file system, and different for different names.

    Lower-case letters, digits, `-` and `_` pass unchanged; any other name is cleaned and gets
    eight digits of its hash, so that `a/b` and `a-b` stay apart.

    Args:
        name: Any text.
    """
    clean = re.sub(r"[^a-z0-9_]+", "-", name.lower()).strip("-")[:48]
    if clean == name and clean and not _RESERVED.fullmatch(clean):
        return clean
    return f"{clean}-{hashlib.sha256(name.encode()).hexdigest()[:8]}".lstrip("-")


def features_folder(root: Path, address: str) -> Path:
    """Folder of the cache with this address."""
    return root / "features" / address


def pictures_folder(root: Path) -> Path:
    """Folder of the scaled pictures that extraction was told to keep."""
    return root / "pictures"


def shard_name(number: int, sha256: str) -> str:
    """File name of a shard: its number and the beginning of its checksum."""
    return f"shard-{number:05d}-{sha256[:16]}.h5"


def shard_number(name: str) -> tuple[int, str] | None:
    """Number and first 16 checksum digits in a shard's file name; None for any other file."""
    match = _SHARD.fullmatch(name)
    return (int(match[1]), match[2]) if match else None


def plain(value: Any) -> Any:
    """The JSON form of a record: dataclasses and mappings to dicts, tuples to lists."""
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return value


def spec_from(record: Mapping[str, Any]) -> TaskSpec:
    """The `TaskSpec` that `plain` turned into `record`."""
    named = {
        name: {key: tuple(items) for key, items in record[name].items()}
        for name in ("label_sets", "metrics")
    }
    lists = {name: tuple(record[name]) for name in ("roles", "regions")}
    arms = [Arm(**{**one, "regions": tuple(one["regions"])}) for one in record.get("arms", ())]
    return TaskSpec(**{**record, **named, **lists, "arms": tuple(arms)})


def encoder_from(record: Mapping[str, Any]) -> EncoderInfo:
    """The `EncoderInfo` that `plain` turned into `record`."""
    triples = {name: tuple(record[name]) for name in ("mean", "std")}
    origin = record.get("origin")  # caches of earlier versions do not tell
    return EncoderInfo(**{**record, **triples, "origin": Origin(**origin) if origin else None})


def key_from(record: Mapping[str, Any]) -> Key:
    """The `Key` that `plain` turned into `record`.

    Raises:
        CacheError: The record is of another schema version, or not a key at all.
    """
    version = record.get("schema_version")
    if version != SCHEMA_VERSION:
        raise CacheError(
            f"Expected a cache of schema version {SCHEMA_VERSION}, found version {version}. "
            "Extract again with this version of sdiag, or read it with the version that wrote it."
        )
    lists = {name: tuple(record[name]) for name in ("blocks", "regions", "token_blocks")}
    parts = {"task": spec_from(record["task"]), "protocol": PixelProtocol(**record["protocol"])}
    return Key(**{**record, **lists, **parts})
