"""The error for a name that is not known, with the nearest names that are."""

import difflib
from collections.abc import Iterable

from degradation.errors import ConfigError

__all__ = ["unknown_name"]


def unknown_name(kind: str, name: str, known: Iterable[str], *, shown: int = 40) -> ConfigError:
    """The error to raise for `name`.

    Args:
        kind: What was named, for example `pair`.
        name: What was typed.
        known: All names of that kind.
        shown: How many of them the message lists at most.
    """
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    rest = f" and {len(known) - shown} more" if len(known) > shown else ""
    return ConfigError(
        f"There is no {kind} {name!r}.{hint} Known: {', '.join(known[:shown])}{rest}."
    )
