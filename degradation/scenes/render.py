"""Painting of a whole scene, from the backdrop to what is near the lens, then light and grain.

The canvas is three times the picture's side and reduced by averaging, which smooths every edge.
Light and grain are applied to the small picture.
"""

import functools
import math

import numpy as np
from jaxtyping import Float32
from PIL import Image, ImageDraw

from degradation.scenes.backdrops import paint_backdrop, paint_occluder
from degradation.scenes.brush import Brush, shade
from degradation.scenes.hands import paint_hand
from degradation.scenes.people import paint_arm, paint_person
from degradation.scenes.records import Light, Scene
from degradation.scenes.things import paint_thing

_OVER = 3
_GRAIN = 2.5


def render(scene: Scene, size: int = 128) -> Image.Image:
    """The picture of a scene.

    Args:
        scene: What to paint.
        size: Side of the picture in pixels.

    Returns:
        An RGB picture, size x size, the same bytes for the same scene.
    """
    side = size * _OVER
    canvas = Image.new("RGB", (side, side), scene.backdrop.rgb)
    brush = Brush(ImageDraw.Draw(canvas), 0j, complex(side, 0))
    paint_backdrop(brush, scene.backdrop)
    for person in reversed(scene.persons):
        paint_person(brush, person)
    if scene.counter is not None:
        brush.box(0, 0.84, 1, 1, shade(scene.counter, 0.84))
        brush.box(0, 0.81, 1, 0.86, scene.counter)
    for thing in scene.things:
        paint_thing(brush, thing)
    for person in reversed(scene.persons):
        for arm in person.arms:
            if arm.front:
                paint_arm(brush, person, arm)
    if scene.hand is not None:
        hand = scene.hand
        own = brush.at(complex(hand.x, hand.y), hand.size, hand.roll, flip=hand.side == "left")
        paint_hand(own, hand.gesture, scene.persons[0].look.skin)
    if scene.occluder is not None:
        paint_occluder(brush, scene.occluder)
    return _light(canvas.reduce(_OVER), scene.light, scene.noise)


def _light(picture: Image.Image, light: Light, noise: int) -> Image.Image:
    """The picture under this light, with a fixed grain shifted by the noise number."""
    size = picture.width
    x, y, vignette = _plane(size)
    slope = light.slope / 0.5
    level = light.level * vignette
    level = level + (slope * math.cos(light.angle)) * x + (slope * math.sin(light.angle)) * y
    pixels = np.asarray(picture, dtype=np.float32) * level[:, :, None]
    pixels *= np.array(light.tint, dtype=np.float32)
    down, across = noise % 128, noise // 128 % 128
    pixels += np.roll(_grain(size), (down, across), (0, 1))[:, :, None]
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


@functools.cache
def _plane(
    size: int,
) -> tuple[Float32[np.ndarray, "1 s"], Float32[np.ndarray, "s 1"], Float32[np.ndarray, "s s"]]:
    """Columns and rows in [-0.5, 0.5], and a faint darkening to the corners."""
    line = ((np.arange(size) + 0.5) / size - 0.5).astype(np.float32)
    x, y = line[None, :], line[:, None]
    return x, y, (1.03 - 0.18 * (x**2 + y**2)).astype(np.float32)


@functools.cache
def _grain(size: int) -> Float32[np.ndarray, "s s"]:
    rng = np.random.Generator(np.random.PCG64(size))
    return (_GRAIN * rng.standard_normal((size, size))).astype(np.float32)
