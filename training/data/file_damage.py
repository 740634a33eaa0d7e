"""Damage of encoded images that a decoder does not notice, or reports as something else.

A transfer in text mode replaces line feeds by CR LF, or CR LF by line feeds. Pillow then decodes a
PPM file to wrong colors without an error: the bytes that were inserted shift all later ones.
Surplus bytes after the end of an image can have the same cause, or be another program's data.
"""

import re
from dataclasses import dataclass

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_DAMAGED_PNG_SIGNATURES = (b"\x89PNG\n\x1a\n", b"\x89PNG\r\r\n\x1a\r\n", b"\x89PNG\r\n\x1a\r\n")
# The header of a binary PBM, PGM or PPM file: three numbers (two for P4), comments between them.
_SEPARATOR = rb"(?:[ \t\r\n]|#[^\r\n]*[\r\n])+"
_PNM_HEADER = re.compile(
    rb"P([456])"
    + _SEPARATOR
    + rb"(\d{1,9})"
    + _SEPARATOR
    + rb"(\d{1,9})(?:"
    + _SEPARATOR
    # The maximum of P5 and P6. One byte of white space ends the header.
    + rb"(\d{1,5}))?[ \t\r\n]"
)
_CHANNELS = {b"4": 1, b"5": 1, b"6": 3}
# The next marker of a JPEG file in compressed data: no stuffed zero, restart marker or fill byte.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
# So many line feeds, each after a carriage return, are no coincidence.
_MIN_LINE_FEEDS = 4


@dataclass(frozen=True)
class FileDamage:
    """What is wrong with the bytes of an encoded image.

    Attributes:
        changes_pixels: Whether the decoded colors are certainly wrong.
        description: The damage, to follow the name of the file.
    """

    changes_pixels: bool
    description: str


def find_damage(content: bytes) -> FileDamage | None:
    """The damage of an encoded PNG, JPEG, PPM, PGM or PBM image. None where none is found."""
    if content.startswith(b"\x89PNG"):
        return _check_png(content)
    if content.startswith(b"\xff\xd8\xff"):
        return _check_jpeg(content)
    if content[:2] in (b"P4", b"P5", b"P6"):
        return _check_pnm(content)
    return None


def _check_png(content: bytes) -> FileDamage | None:
    if content.startswith(_DAMAGED_PNG_SIGNATURES):
        return _line_end_damage()
    if not content.startswith(_PNG_SIGNATURE):
        return None
    position = len(_PNG_SIGNATURE)
    while position + 8 <= len(content):
        kind = content[position + 4 : position + 8]
        position += 12 + int.from_bytes(content[position : position + 4], "big")
        if kind == b"IEND":
            return _surplus_damage(len(content) - position)
    return None  # truncated, which the decoder reports


def _check_jpeg(content: bytes) -> FileDamage | None:
    if _has_only_crlf(content):
        return _line_end_damage()
    if content.endswith(b"\xff\xd9"):
        return None
    position = 2
    while (marker := _JPEG_MARKER.search(content, position)) is not None:
        position = marker.end()
        kind = content[position - 1]
        if kind == 0xD9:
            return _surplus_damage(len(content) - position)
        if kind not in (0x01, 0xD8):  # markers without a segment
            position += max(2, int.from_bytes(content[position : position + 2], "big"))
    return None  # truncated


def _check_pnm(content: bytes) -> FileDamage | None:
    header = _PNM_HEADER.match(content)
    if header is None:
        return None
    kind, width, height = header[1], int(header[2]), int(header[3])
    if kind == b"4":
        row_bytes = (width + 7) // 8
    else:
        row_bytes = width * _CHANNELS[kind] * (2 if int(header[4] or 255) > 255 else 1)
    pixels = content[header.end() :]
    surplus = len(pixels) - row_bytes * height
    if surplus <= 0:
        return None  # complete, or truncated, which the decoder reports
    header_has_crlf = header[0].endswith(b"\r") and pixels.startswith(b"\n")
    if header_has_crlf or _has_only_crlf(pixels, minimum=surplus):
        return _line_end_damage()
    return None if not pixels[-surplus:].strip() else _surplus_damage(surplus)


def _has_only_crlf(content: bytes, *, minimum: int = _MIN_LINE_FEEDS) -> bool:
    """Whether each line feed follows a carriage return, and there are enough of them."""
    line_feeds = content.count(b"\n")
    return line_feeds >= minimum and content.count(b"\r\n") == line_feeds


def _line_end_damage() -> FileDamage:
    return FileDamage(
        True,
        "has line ends that a transfer in text mode changed, so its colors are wrong; copy it "
        "again in binary mode",
    )


def _surplus_damage(count: int) -> FileDamage | None:
    if count <= 0:
        return None
    return FileDamage(
        False, f"has {count:,} {'byte' if count == 1 else 'bytes'} after the end of the image"
    )
