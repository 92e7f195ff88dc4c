"""A contact sheet of the social world: one band of labelled pictures for each framing."""

from PIL import Image, ImageDraw, ImageFont

from degradation.scenes.records import Scene
from degradation.scenes.render import render
from degradation.scenes.world import FRAMES, FRAMINGS, compose

_PAPER = (250, 246, 238)
_INK = (70, 60, 64)
_MARGIN = 10
_CAPTION = 16


def contact_sheet(seed: int = 0, columns: int = 12, rows: int = 2, size: int = 128) -> Image.Image:
    """Pictures of the test split, `rows` rows for each framing, each with its label below.

    Args:
        seed: The seed of the world.
        columns: Pictures in a row.
        rows: Rows for each framing; a row of `looking` shows whole clips, frame by frame.
        size: Side of a picture in pixels.

    Returns:
        The sheet as an RGB picture.
    """
    step = size + _MARGIN
    line = step + _CAPTION
    high = _MARGIN + len(FRAMINGS) * (rows * line + _CAPTION)
    sheet = Image.new("RGB", (_MARGIN + columns * step, high), _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=11)
    y = _MARGIN
    for framing in FRAMINGS:
        draw.text((_MARGIN, y - 3), framing, fill=_INK, font=ImageFont.load_default(size=14))
        y += _CAPTION
        for number in range(rows * columns):
            scene = _sample(framing, number, seed)
            x, top = _MARGIN + number % columns * step, y + number // columns * line
            sheet.paste(render(scene, size), (x, top))
            draw.text((x, top + size + 1), _label(scene), fill=_INK, font=font)
        y += rows * line
    return sheet


def _sample(framing: str, number: int, seed: int) -> Scene:
    if framing == "looking":
        clip, frame = divmod(number, FRAMES)
        return compose(framing, "test", clip, seed=seed, frame=frame)
    return compose(framing, "test", number, seed=seed)


def _label(scene: Scene) -> str:
    thing = scene.thing
    match scene.framing:
        case "expression":
            return scene.expression
        case "gesture":
            return str(scene.gesture)
        case "relation":
            return str(scene.relation)
        case "looking":
            return str(scene.looks)
        case "gaze" if thing is not None and scene.gaze_kind == "thing":
            return f"at the {thing.colour} {thing.kind}"
        case "gaze":
            return f"at the {scene.gaze_kind}" if scene.gaze_kind == "viewer" else "at a point"
        case _:
            return f"{thing.colour} {thing.kind}" if thing is not None else ""
