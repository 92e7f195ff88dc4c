"""Study files and ready studies: found, read, checked, and written out again."""

import difflib
import json
import os
import reprlib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from degradation.errors import ConfigError
from sdiag.study.schema import Study

__all__ = ["read_study", "ready_studies", "study_path", "to_toml"]

READY = Path(__file__).with_name("studies")


def ready_studies() -> dict[str, Study]:
    """The studies that ship, by name."""
    return {path.stem: read_study(path) for path in sorted(READY.glob("*.toml"))}


def study_path(name: str) -> Path:
    """The file of a study: a path, or the name of one that ships.

    Args:
        name: As typed.

    Raises:
        ConfigError: There is none, with the nearest names.
    """
    if os.path.isfile(name):  # False for a name that no file can have, where Path raises
        return Path(name)
    ready = {one.stem: one for one in sorted(READY.glob("*.toml"))}
    if name in ready:
        return ready[name]
    raise ConfigError(
        f"Expected a study file or the name of a ready study, found {name!r}, which is neither."
        f"{_nearest(name, ready)} Ready studies: {', '.join(ready)}."
    )


def read_study(path: Path) -> Study:
    """A study, checked.

    Args:
        path: A TOML file. Data roots in it are relative to its folder.

    Raises:
        ConfigError: It cannot be read, or says what a study cannot say; with the place, and for
            unknown keys the nearest known ones.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"Expected a study as TOML in {path}, found: {error}. Mend it, or write a new one with "
            "`sdiag study NAME --show`."
        ) from error
    try:
        study = Study.model_validate(content)
    except ValidationError as error:
        faults = error.errors()
        more = f" ({len(faults) - 1} more)" if len(faults) > 1 else ""
        raise ConfigError(f"{path}: {_fault(faults[0])}{more}") from error
    folder = path.absolute().parent
    tasks = tuple(
        one.model_copy(update={"data_root": one.data_root and _below(folder, one.data_root)})
        for one in study.task
    )
    return study.model_copy(update={"task": tasks})


def _below(folder: Path, root: Path) -> Path:
    """A data root as a study names it, from the study's folder."""
    try:
        return folder / root.expanduser()
    except RuntimeError as error:
        raise ConfigError(
            f"Expected a folder as data_root, found {str(root)!r}: {error} Write it without ~."
        ) from error


def _fault(fault: Mapping[str, Any]) -> str:
    """One fault as a sentence: the place, what is wrong, and what to write."""
    place, kind = _place(fault["loc"]), fault["type"]
    if kind == "extra_forbidden":
        *above, name = fault["loc"]
        known = _keys(above)
        where = f"in {_place(above)}" if above else "at the top"
        return (
            f"there is no key {reprlib.repr(name)} {where}."
            f"{_nearest(str(name), known)} "
            f"Known: {', '.join(known)}."
        )
    if kind == "missing":
        return f"{place} is missing. Add it."
    message = fault["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if kind == "value_error":
        return f"{f'{place}: ' if place else ''}{message}. Mend it."
    if kind == "tuple_type":
        message = f"a list is expected: [[{place}]] for tables, [1, 2] for values"
    return f"{place} cannot be {reprlib.repr(fault['input'])}: {message}. Give another value."


def _place(steps: Sequence[str | int]) -> str:
    """`pair[2].size`, counted from one as people do."""
    text = ""
    for step in steps:
        text += f"[{step + 1}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def _keys(steps: Sequence[str | int]) -> list[str]:
    """The keys of the table at a place."""
    model: type[BaseModel] = Study
    for step in steps:
        if isinstance(step, str) and step in model.model_fields:
            inner = list(_models(model.model_fields[step].annotation))
            if not inner:
                break
            model = inner[0]
    return list(model.model_fields)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The tables in a type."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Union, UnionType, tuple):
        for part in get_args(annotation):
            yield from _models(part)


def _nearest(name: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, list(known), n=2, cutoff=0.5)
    return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""


def to_toml(study: Study) -> str:
    """The study with every default written out, as TOML; what is None is left out.

    It reads back as the same study.
    """
    data = study.model_dump(mode="json")
    lines = _pairs({name: one for name, one in data.items() if not _is_table(one)})
    for name, one in data.items():
        if isinstance(one, dict):
            lines += ["", f"[{name}]", *_pairs(one)]
        elif _is_table(one):
            for part in one:
                lines += ["", f"[[{name}]]", *_pairs(part)]
    return "\n".join(lines) + "\n"


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) or (
        isinstance(value, list) and bool(value) and isinstance(value[0], dict)
    )


def _pairs(table: Mapping[str, Any]) -> list[str]:
    return [f"{name} = {_value(one)}" for name, one in table.items() if one is not None]


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    # JSON writes strings, numbers and booleans as TOML does, but for DEL, which TOML wants escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
