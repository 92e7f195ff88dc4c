"""Lists of the rows of a split to keep, by name: what `sdiag audit --clean NAME` writes.

A list is a text file, `<cache>/rows/<name>/<task>/<split>.txt`: a header of lines that start with
`# ` says how it was made and from which rows, and after the line `# ids:` follows one id a line.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from degradation.cache.files import write_atomically
from degradation.cache.schema import slug
from degradation.encoders.names import unknown_name
from degradation.errors import ConfigError, DataError

__all__ = ["read_row_list", "row_list_names", "row_list_path", "write_row_list"]

_IDS = "# ids:\n"
_DIGEST = "# rows digest: "


def row_list_names(cache_root: Path) -> list[str]:
    """Names of all row lists of a cache, sorted."""
    folder = cache_root / "rows"
    return sorted(one.name for one in folder.iterdir() if one.is_dir()) if folder.is_dir() else []


def row_list_path(cache_root: Path, name: str, task: str, split: str) -> Path:
    """File of a list.

    Raises:
        ConfigError: The name is not plain.
    """
    if slug(name) != name:
        raise ConfigError(
            "Expected a name of row lists in lower-case letters, digits, - and _, found "
            f"{name!r}. Write it as {slug(name)!r}, say."
        )
    return cache_root / "rows" / name / slug(task) / f"{slug(split)}.txt"


def write_row_list(
    path: Path, ids: Iterable[str], *, rows_digest: str, header: Mapping[str, str]
) -> None:
    """Write a list.

    Args:
        path: From `row_list_path`.
        ids: Rows to keep, in the order of the split.
        rows_digest: `Rows.digest()` of the split.
        header: What else to say of the list, one line each.

    Raises:
        ConfigError: An id has a line break in it.
        CacheError: The disk is full or cannot be written.
    """
    ids = list(ids)
    for one in ids:
        if one.splitlines() != [one]:
            raise ConfigError(
                f"Expected row ids without line breaks, found {one!r}. Row lists hold one id a "
                "line: rename it."
            )
    lines = [f"# {key}: {' '.join(text.split())}\n" for key, text in header.items()]
    text = "".join([*lines, f"{_DIGEST}{rows_digest}\n", _IDS, *(f"{one}\n" for one in ids)])
    write_atomically(path, text.encode())


def read_row_list(
    cache_root: Path, name: str, task: str, split: str, *, rows_digest: str | None = None
) -> frozenset[str]:
    """Ids of the rows of a split to keep.

    Args:
        cache_root: Root of all caches.
        name: As given to `sdiag audit --clean`.
        task: Name of the task.
        split: Name of the split.
        rows_digest: `Rows.digest()` of the split as it was read (`Key.rows_digest` in a cache); a
            list that was made from other rows is refused. None if it is not known.

    Raises:
        ConfigError: There is no list of this name, or none for this task or split.
        DataError: It was made from other rows, or is not a row list.
    """
    path = row_list_path(cache_root, name, task, split)
    names = row_list_names(cache_root)
    if name not in names:
        if not names:
            raise ConfigError(
                f"Expected row lists named {name!r} in {cache_root / 'rows'}, found none at all. "
                f"Make them with `sdiag audit --clean {name}`."
            )
        raise unknown_name("row list", name, names)
    if not path.is_file():
        held = sorted(f"{one.parent.name}/{one.stem}" for one in path.parents[1].glob("*/*.txt"))
        raise ConfigError(
            f"Expected a row list {name!r} for {task}, split {split}; it has "
            f"{', '.join(held) or 'no list'}. Make it again with this task among the audited "
            f"ones: sdiag audit --task {task} ... --clean {name}"
        )
    try:
        head, mark, body = path.read_text(encoding="utf-8").partition(_IDS)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"Expected a readable row list, found {error}: {path}.") from error
    made_from = [line for line in head.splitlines() if line.startswith(_DIGEST)]
    if not mark or len(made_from) != 1:
        raise DataError(
            f"Expected a row list with the lines `{_DIGEST}...` and `{_IDS.strip()}`, found "
            f"another text: {path}. Make it again with `sdiag audit --clean {name}`."
        )
    if rows_digest is not None and made_from[0] != f"{_DIGEST}{rows_digest}":
        raise DataError(
            f"Expected a row list {name!r} for the rows of {task}, split {split}, as they are "
            f"(digest {rows_digest[:12]}), found one made from others (digest "
            f"{made_from[0].removeprefix(_DIGEST)[:12]}): {path}. Audit again with "
            f"--clean {name}, or extract again, so that both read the same rows."
        )
    return frozenset(body.splitlines())
