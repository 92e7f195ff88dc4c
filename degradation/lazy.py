"""Names of a package that are imported when they are first asked for.

So `from degradation import load_encoder` works, and `import degradation` alone stays free of torch.
"""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["lazy"]


def lazy(package: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """A `__getattr__` for a package, which finds the given names in its modules.

    Args:
        package: Its name.
        names: By name, the module that has it.

    Returns:
        A function that raises AttributeError for any other name.
    """

    def find(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(names[name]), name)

    return find
