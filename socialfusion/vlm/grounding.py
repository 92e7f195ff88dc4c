"""Boxes and points as Qwen2-VL writes them, in whole thousandths of the picture's sides.

It was trained with boxes as `<|box_start|>(x1,y1),(x2,y2)<|box_end|>` behind the name of what they
hold, `<|object_ref_start|>...<|object_ref_end|>`, with coordinates in [0, 1000) (arXiv 2409.12191,
2.2.1). It has no masks of boxes, so that is how it is told where somebody is; and a point that it
is asked for is written the same way.
"""

import math
import re
from collections.abc import Sequence

__all__ = ["box_text", "point_text", "read_point"]

STEPS = 1000
"""Coordinates are whole numbers below this."""
_POINT = re.compile(r"\((\d{1,3}),(\d{1,3})\)")


def box_text(role: str, box: Sequence[float]) -> str:
    """A box in words; nothing for one that is absent.

    Args:
        role: Whose it is.
        box: Normalised xyxy, NaN where there is none.

    Example:
        >>> box_text("face", (0.1, 0.25, 0.5, 1.0))
        '<|object_ref_start|>face<|object_ref_end|><|box_start|>(100,250),(500,999)<|box_end|>'
    """
    if any(math.isnan(value) for value in box):
        return ""
    x1, y1, x2, y2 = map(_thousandths, box)
    return (
        f"<|object_ref_start|>{role.replace('_', ' ')}<|object_ref_end|>"
        f"<|box_start|>({x1},{y1}),({x2},{y2})<|box_end|>"
    )


def point_text(point: Sequence[float]) -> str:
    """A point in words; one outside the picture is moved to its border.

    Example:
        >>> point_text((0.5, 0.12))
        '<|box_start|>(500,120)<|box_end|>'
    """
    x, y = map(_thousandths, point)
    return f"<|box_start|>({x},{y})<|box_end|>"


def read_point(text: str) -> tuple[float, float] | None:
    """The first point in a text, normalised xy, the centre of its thousandth; None without one.

    Example:
        >>> read_point("(500, 120)")
        (0.5005, 0.1205)
    """
    found = _POINT.search("".join(text.split()))
    return None if found is None else tuple((int(one) + 0.5) / STEPS for one in found.groups())


def _thousandths(value: float) -> int:
    # Boxes are float32, in which 0.29 is a little less than 290 thousandths.
    return min(max(math.floor(value * STEPS + 1e-4), 0), STEPS - 1)
