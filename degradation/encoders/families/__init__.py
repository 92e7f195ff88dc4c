"""Published vision towers, one file for each family; loaded whole or not at all.

A family is a record: how a config.json describes its architecture, and where the tensors of our
own `Vit` lie on disk. To add one, write its file and its line in `known`.
"""

from degradation.encoders.families.known import FAMILIES
from degradation.encoders.families.loading import (
    architecture,
    blocks_read,
    load_family,
    load_tower,
)

__all__ = ["FAMILIES", "architecture", "blocks_read", "load_family", "load_tower"]
