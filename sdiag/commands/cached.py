"""Which cached pairs and tasks the options of a command name."""

import sys
from pathlib import Path

__all__ = ["cached_pairs"]


def cached_pairs(
    cache: Path, tasks: list[str] | None, models: list[str] | None
) -> list[tuple[str, str]]:
    """Pairs and tasks in the cache that the names select, as (pair, task), in order.

    With an empty cache and no names, the embedded pair is extracted first.

    Args:
        cache: Root of all caches.
        tasks: Names of tasks; all if None.
        models: Names of pairs; all if None.

    Raises:
        ConfigError: If a name is not in the cache, or no pair has the task.
    """
    from degradation.cache import pairs
    from degradation.errors import ConfigError

    cached = {(entry.pair, entry.task) for entry in pairs(cache)}
    if not cached and tasks is None and models is None:
        from degradation.encoders.registry import get_pair
        from degradation.protocol import Protocol
        from sdiag.commands.extract import extract_pairs

        print(f"No features in {cache} yet: extracting the pair tiny first.", file=sys.stderr)
        extract_pairs({get_pair("tiny"): Protocol()}, None, None, cache)
        cached = {(entry.pair, entry.task) for entry in pairs(cache)}
    chosen = sorted(
        (pair, task)
        for pair, task in cached
        if (tasks is None or task in tasks) and (models is None or pair in models)
    )
    missing = [
        (name, kind)
        for names, kind, place in ((models, "pair", 0), (tasks, "task", 1))
        for name in names or ()
        if name not in {one[place] for one in cached}
    ]
    if missing or not chosen:
        name, kind = min(missing) if missing else ("these options", "pair and task")
        listed = ", ".join(sorted(f"{pair} on {task}" for pair, task in cached)) or "nothing"
        raise ConfigError(
            f"No cached features for {kind} {name!r} in {cache}. Cached: {listed}. "
            "Run `sdiag extract` for it first."
        )
    return chosen
