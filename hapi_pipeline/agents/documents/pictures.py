"""Pictures: what they are, and a copy of a size that a model can take."""

from __future__ import annotations

import io
import warnings
from typing import Any, BinaryIO

from hapi_pipeline.agents.documents.model import Document, Picture, Reading, UnreadableError, Want, counted

LONGEST_SIDE = 1568  # pixels: providers scale larger ones down themselves, and bill for them
MOST_SENT = 4  # pictures in one answer
_MOST_PIXELS = 80_000_000
_MOST_BYTES = 1 << 20  # of one picture as sent
_FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "MPO")  # and none of Pillow's rarer, less tested readers


def read_picture(document: Document, want: Want) -> Reading:
    """Kind and size of a picture, and the picture itself for a model that sees it."""
    if not want.pictures:
        about, _ = described(document.file)
        return Reading(about, "This model cannot see pictures; work from the brief and the other files.")
    about, picture = scaled(document.file, document.name)
    return Reading(about, "", (picture,))


def described(file: BinaryIO) -> tuple[str, Any]:
    """(what the picture is, the picture, not yet decoded). UnreadableError for what is none."""
    import PIL
    from PIL import Image

    file.seek(0)
    Image.MAX_IMAGE_PIXELS = None  # our own limit below says it in a sentence
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(file, formats=_FORMATS)
    except (PIL.UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise UnreadableError("this picture is damaged and cannot be opened") from error
    width, height = image.size
    frames = getattr(image, "n_frames", 1)
    moving = f", {counted(frames, 'frame')}" if frames > 1 else ""
    about = f"picture, {image.format}, {width} x {height} pixels{moving}"
    if width * height > _MOST_PIXELS:
        raise UnreadableError(f"{about}, too large to be opened here")
    return about, image


def decoded(file: BinaryIO) -> tuple[str, Any]:
    """(what the picture is, the picture, decoded)"""
    about, image = described(file)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image.load()
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise UnreadableError(f"{about}, damaged: it cannot be shown") from error
    return about, image


def scaled(file: BinaryIO, label: str) -> tuple[str, Picture]:
    """(what the picture is, a copy that a model can take)"""
    from PIL import ImageOps

    about, image = decoded(file)
    return about, encoded(ImageOps.exif_transpose(image) or image, label)


def encoded(image: Any, label: str) -> Picture:
    """The first frame of a picture as PNG, or as JPEG where that is much smaller, its longest side bounded."""
    clear = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
    image = image.convert("RGBA" if clear else "RGB")
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    if clear:
        from PIL import Image

        ground = Image.new("RGB", image.size, "white")  # as a page would show it
        ground.paste(image, mask=image.getchannel("A"))
        image = ground
    data, media_type = _saved(image, "PNG", optimize=False), "image/png"
    if len(data) > _MOST_BYTES // 4:
        for quality in (85, 60, 30):
            data, media_type = _saved(image, "JPEG", quality=quality), "image/jpeg"
            if len(data) <= _MOST_BYTES:
                break
    width, height = image.size
    return Picture(label, media_type, width, height, data)


def _saved(image: Any, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()
