"""The picture that both sides see: decoding, colour, geometry, and a hash of the result.

Protocol `paired-native-grid v1`: a file is decoded once, turned upright, made 8-bit RGB and
squashed to s x s pixels; both encoders of a pair get these pixels, each with its own mean and
deviation. The hash travels with the features, so that features of other pixels are never compared.

Coordinates are those of the picture *as displayed*, after its EXIF orientation: boxes and gaze
points refer to what a viewer shows. The squash maps normalised coordinates to themselves, so boxes
and points need no change whatever s is; `degradation.geometry` has the ways that move them.

Colour profiles are ignored: numbers are taken as sRGB.
"""

import hashlib
import io
import os
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from degradation.errors import DataError
from degradation.geometry import MAX_PIXELS

__all__ = [
    "FORMATS",
    "decode_picture",
    "inside_root",
    "open_picture",
    "picture_bytes",
    "picture_size",
    "pixel_hash",
    "to_rgb",
]

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
"""The formats that are read; named, because some others run a program of their own on the file."""

_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIXTEEN_BIT = ("I", "I;16", "I;16L", "I;16B", "I;16N")
_EIGHT_BIT = ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV", "LA", "PA", "RGBA")

# Swapping the warning filters is process-wide, so threads take turns; only headers are read inside.
_filters = threading.Lock()


@contextmanager
def _quiet() -> Iterator[None]:
    with _filters, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def inside_root(path: str | Path, root: str | Path) -> Path:
    """The real place of `path`, which is relative to `root` or absolute, links followed.

    Raises:
        DataError: The place lies outside `root`, by `..`, an absolute path or a link.
    """
    try:
        base = os.path.realpath(root)
        real = os.path.realpath(os.path.join(base, path))
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise DataError(f"Expected a file name, found {str(path)!r}: {error}.") from error
    if real != base and not real.startswith(os.path.join(base, "")):
        raise DataError(
            f"Expected a picture inside the data root {base}, but {str(path)!r} leads to {real}. "
            "Name a data root that holds all pictures (--data-root), or copy the file into it."
        )
    return Path(real)


def picture_bytes(file: Path) -> bytes:
    """A picture file as it is stored.

    Raises:
        DataError: The file is missing, a folder, a device, empty or not permitted.
    """
    try:
        status = file.stat()
        if stat.S_ISDIR(status.st_mode):
            raise DataError(f"Expected a picture, found a folder: {file}. Name the file inside it.")
        if not stat.S_ISREG(status.st_mode):
            raise DataError(f"Expected a picture, found a device or pipe: {file}. Name a file.")
        data = file.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(
            f"Expected a picture at {file}, found nothing. Check the path and the data root."
        ) from error
    except PermissionError as error:
        raise DataError(
            f"Expected a readable picture, but reading {file} is not permitted. "
            "Change its permissions, or those of the folders above it."
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(f"Expected a readable picture at {str(file)!r}, found: {error}.") from error
    if not data:
        raise DataError(
            f"Expected a picture, found a file of zero bytes: {file}. Copy or download it again."
        )
    return data


def open_picture(path: str | Path, *, root: str | Path | None = None) -> Image.Image:
    """Decodes a picture file fully; of several frames, the first.

    Args:
        path: The file; relative to `root` if that is given.
        root: The data root, which the file must not leave; None allows any file.

    Returns:
        The picture in the mode of the file, not yet turned upright; `to_rgb` does the rest. It
        holds no open file.

    Raises:
        DataError: The file is missing, a folder, empty, not permitted, outside the root, not a
            picture of the `FORMATS`, cut off or damaged, or larger than `MAX_PIXELS`.
    """
    file = Path(path) if root is None else inside_root(path, root)
    return decode_picture(picture_bytes(file), file)


def decode_picture(data: bytes, file: Path, *, draft: int = 0) -> Image.Image:
    """Decodes the bytes of a picture file; of several frames, the first.

    Args:
        data: From `picture_bytes`.
        file: Where they are from, for messages.
        draft: If not 0, JPEGs are decoded in grey at a fraction (1/2, 1/4 or 1/8) of their size
            whose sides are still as long as this, many times as fast. Other formats are decoded
            as always.

    Raises:
        DataError: As for `open_picture`, once the file is read.
    """
    # Decoders meet hostile bytes and raise whatever their parsing stumbles over (SyntaxError,
    # struct.error, KeyError ...), so each of the two steps takes every exception.
    try:
        with _quiet():
            image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise _too_large(file, str(error)) from error
    except Image.UnidentifiedImageError as error:
        raise DataError(
            f"Expected a picture ({', '.join(FORMATS)}), found {len(data)} bytes of something "
            f"else, or of a picture cut off in its header: {file}. Convert or replace the file."
        ) from error
    except Exception as error:
        raise _damaged(file, error) from error
    if image.width * image.height > MAX_PIXELS:
        raise _too_large(file, f"{image.width} x {image.height} pixels")
    try:
        if draft:
            image.draft("L", (draft, draft))
        image.load()
    except Exception as error:
        raise _damaged(file, error) from error
    image.filename = str(file)  # for the messages of `to_rgb`
    return image


def _too_large(file: Path, found: str) -> DataError:
    return DataError(
        f"Expected at most {MAX_PIXELS:,} pixels, found {found.rstrip('.')}: {file}. "
        "Scale the picture down, or leave it out if its size is a mistake."
    )


def _damaged(file: Path, error: Exception) -> DataError:
    return DataError(
        f"Expected a whole picture, found one that is cut off or damaged ({error}): {file}. "
        "Copy or download it again."
    )


def picture_size(file: Path) -> tuple[int, int]:
    """Width and height of a picture file as displayed; nothing is decoded but what says so.

    Raises:
        DataError: No file, or not a picture of the `FORMATS`.
    """
    if not file.is_file():  # a pipe would be waited for
        raise DataError(f"Expected a picture, found no file: {file}. Check the path.")
    try:
        with _quiet():
            image = Image.open(file, formats=FORMATS)
    except Exception as error:  # as for `decode_picture`
        raise _damaged(file, error) from error
    with image:
        # Pillow gives the size of a TIFF upright, and its orientation all the same.
        sideways = image.format != "TIFF" and _orientation(image) in (5, 6, 7, 8)
        return image.size[::-1] if sideways else image.size


def _orientation(image: Image.Image) -> int:
    try:
        with _quiet():
            return image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF raises anything; viewers then show the picture as stored
        return 1


def to_rgb(image: Image.Image) -> Image.Image:
    """The picture upright and in 8-bit RGB; applying it twice changes nothing.

    * The EXIF orientation is applied; a damaged one counts as upright.
    * 16-bit grey is scaled by full range, v / 257 rounded, so 65535 becomes 255 and nothing is
      clipped. It does not depend on the content: 12-bit values in a 16-bit file come out dark.
      16-bit colour keeps its high byte.
    * Transparent parts are laid over white, as a page shows them.
    * CMYK is converted without a profile, (255 - c)(255 - k) / 255; JPEGs that store it inverted,
      as Adobe's do, were set right by the decoder.
    * Of an animation, the first frame.

    Args:
        image: A decoded picture in any mode.

    Returns:
        An image of mode RGB: the picture itself if there is nothing to do, since copying one costs
        a third of decoding it.

    Raises:
        DataError: A mode whose range is not known (floating point, wider than 16 bits) or
            rarely met (LAB).
    """
    turn = _UPRIGHT.get(_orientation(image))
    upright = image if turn is None else image.transpose(turn)
    if upright.mode in _SIXTEEN_BIT:
        upright = _eight_bit_grey(upright, _name(image))
    if upright.mode not in _EIGHT_BIT:
        kind = " (floating point, of unknown range)" if upright.mode == "F" else ""
        raise DataError(
            f"Expected a picture in 8-bit colour or 8- or 16-bit grey, found mode "
            f"{upright.mode}{kind}{_name(image)}. Scale it to 0..255 and save it as 8-bit PNG."
        )
    if upright.has_transparency_data:
        rgba = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    if upright is image and upright.mode == "RGB":
        return image
    rgb = upright.convert("RGB")
    rgb.info = {}  # the EXIF orientation has been applied and must not be again
    return rgb


def _name(image: Image.Image) -> str:
    filename = getattr(image, "filename", "")
    return f" in {filename}" if filename else ""


def _eight_bit_grey(image: Image.Image, name: str) -> Image.Image:
    values = np.asarray(image)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise DataError(
            f"Expected grey values from 0 to 65535, found {low} to {high}{name}. "
            "Scale it to 0..255 and save it as 8-bit PNG."
        )
    return Image.fromarray(((values.astype(np.uint32) + 128) // 257).astype(np.uint8))


def pixel_hash(pixels: UInt8[np.ndarray, "..."]) -> bytes:
    """Sixteen bytes (BLAKE2b) over shape and values: equal hashes mean equal pixels."""
    blake = hashlib.blake2b(str(pixels.shape).encode(), digest_size=16)
    blake.update(np.ascontiguousarray(pixels).data)
    return blake.digest()
