"""The families by name, as rows of the catalogue name them."""

from degradation.encoders.families.aimv2 import AIMV2
from degradation.encoders.families.clip import CLIP
from degradation.encoders.families.dinov2 import DINOV2
from degradation.encoders.families.family import Family
from degradation.encoders.families.internvit import INTERNVIT
from degradation.encoders.families.molmo import MOLMO
from degradation.encoders.families.open_clip import OPEN_CLIP
from degradation.encoders.families.qwen2_5_vl import QWEN2_5_VL
from degradation.encoders.families.qwen2_vl import QWEN2_VL
from degradation.encoders.families.qwen3_vl import QWEN3_VL
from degradation.encoders.families.siglip import SIGLIP
from degradation.encoders.names import unknown_name

__all__ = ["FAMILIES", "named"]

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        AIMV2,
        CLIP,
        DINOV2,
        INTERNVIT,
        MOLMO,
        OPEN_CLIP,
        QWEN2_5_VL,
        QWEN2_VL,
        QWEN3_VL,
        SIGLIP,
    )
}


def named(name: str) -> Family:
    """The family of that name; `ConfigError` with the nearest names if there is none."""
    if name not in FAMILIES:
        raise unknown_name("family of towers", name, FAMILIES)
    return FAMILIES[name]
