"""A cache whose token maps lost the faces."""

import pytest
from slice_worlds import token_world, write_tokens


@pytest.fixture(scope="module")
def token_cache(tmp_path_factory):
    """Root of the cache, the task, and the splits behind it."""
    task, splits = token_world(sizes={"train": 120, "val": 50, "test": 100})
    root = tmp_path_factory.mktemp("tokens") / "cache"
    write_tokens(root, task, splits)
    return root, task, splits
