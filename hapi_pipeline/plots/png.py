"""A chart as a picture: by resvg, with the font that ships here, so that every machine draws the same."""

from __future__ import annotations

from pathlib import Path

from hapi_pipeline.plots.svg import standalone

FONTS = Path(__file__).parent / "fonts"
_FIRST_BEYOND, _SIGNS = 0x500, frozenset("–—…→−≥≤≈·“”‘’€\u2002")  # what the font has
SHARPNESS = 2.0
"""Pixels of the picture for one of the chart."""


def png(svg: str, theme: str = "light") -> bytes:
    """A chart of `plots.charts` as a PNG file, light or dark, twice as large as the chart is.

    Letters that the font lacks (Chinese, for instance) are taken from the machine's own fonts, where it has them.
    """
    import resvg_py

    if theme not in ("light", "dark"):
        raise ValueError(f"a picture is light or dark, not {theme!r}")
    drawn: bytes = resvg_py.svg_to_bytes(
        svg_string=standalone(svg, theme),
        font_files=[str(path) for path in sorted(FONTS.glob("*.otf"))],
        font_family="Inter",
        sans_serif_family="Inter",
        skip_system_fonts=all(ord(c) < _FIRST_BEYOND or c in _SIGNS for c in svg),
        zoom=SHARPNESS,
    )
    return bytes(drawn)
