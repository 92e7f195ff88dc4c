"""Tiny checkpoints in the format of the hub, for tests without downloads.

Names and shapes are spelt out as the published files have them, never derived from the code under
test: libraries name the same tensors otherwise in memory, and some write other names than those
that the hub holds. `CHECKPOINTS` lists all of them; `write` puts one into a folder.

    checkpoint = CHECKPOINTS["qwen2_vl"]()
    write(tmp_path, checkpoint, shards=2)
"""

from collections.abc import Callable

from tiny_checkpoints import DEPTH, HEADS, MLP, PATCH, SIZE, WIDTH, Tiny, write
from tiny_encoders import (
    INTERNVIT,
    aimv2,
    aimv2_converted,
    clip,
    clip_tower,
    dinov2,
    internvit,
    open_clip,
    siglip,
)
from tiny_models import llava, molmo, paligemma, qwen2_5_vl, qwen2_vl, qwen3_vl, sail_vl, sail_vl_15

__all__ = [
    "CHECKPOINTS",
    "DEPTH",
    "HEADS",
    "INTERNVIT",
    "MLP",
    "PATCH",
    "SIZE",
    "WIDTH",
    "Tiny",
    "aimv2",
    "aimv2_converted",
    "clip",
    "clip_tower",
    "dinov2",
    "internvit",
    "llava",
    "molmo",
    "open_clip",
    "paligemma",
    "qwen2_5_vl",
    "qwen2_vl",
    "qwen3_vl",
    "sail_vl",
    "sail_vl_15",
    "siglip",
    "write",
]

CHECKPOINTS: dict[str, Callable[[], Tiny]] = {
    "clip": clip,
    "clip-tower": clip_tower,
    "llava": llava,
    "open_clip": open_clip,
    "qwen2_vl": qwen2_vl,
    "qwen2_vl-finetune": lambda: qwen2_vl("model.visual.", nested=True),
    "molmo": molmo,
    "internvit": internvit,
    "sail-vl": sail_vl,
    "aimv2": aimv2,
    "aimv2-converted": aimv2_converted,
    "sail-vl-1.5": sail_vl_15,
    "siglip": siglip,
    "paligemma": paligemma,
    "dinov2": dinov2,
    "qwen3_vl": qwen3_vl,
    "qwen2_5_vl": qwen2_5_vl,
}
