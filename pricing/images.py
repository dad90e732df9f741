"""How large a picture is, read from its header and nothing else.

Providers charge pictures by their pixels, and a data URL carries them along. A header is a few
bytes, so looking costs microseconds whatever the picture weighs. What is not one of the four
formats that providers take, or looks odd, has no size here: the caller then counts the most that a
picture can be. Where a format names several sizes the largest counts, so that no decoder sees more
than was read.
"""

import binascii
from typing import NamedTuple

_BASE64_END = ";base64"
_URL_HEAD_CHARS = 256
_HEAD_CHARS = (2_048, 131_072, 1_048_576)
"""Base64 that is decoded at first, and if the size was not in there (a JPEG can carry previews and
colour profiles in front of it): multiples of four. What is behind that is not looked for."""

STEPS_MAX = 1_000
"""Segments that are passed over on the way to the size; real files have some dozens."""

_PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
_JPEG = b"\xff\xd8\xff"
_GIFS = (b"GIF87a", b"GIF89a")
_GIF_EXTENSION, _GIF_IMAGE = 0x21, 0x2C
_JPEG_SCAN, _JPEG_END = 0xDA, 0xD9
_JPEG_NO_LENGTH = frozenset((0x01, *range(0xD0, 0xD8)))
# SOF0 to SOF15 without what shares their numbers: DHT, JPG, DAC.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class Size(NamedTuple):
    """In pixels, both above 0."""

    width: int
    height: int


class Image(NamedTuple):
    """A picture in a request: its size (None: not known, as of one that is elsewhere), and the
    `detail` that was asked for, as it was written."""

    size: Size | None
    detail: str = ""


class _TooShort(Exception):
    """The header goes on behind what was decoded."""


def size_of_url(url: str) -> Size | None:
    """The size of the picture in a data URL (RFC 2397) that is base64; None for any other URL, and
    where the size cannot be read."""
    head, comma, _ = url[:_URL_HEAD_CHARS].partition(",")
    if not comma or head[:5].casefold() != "data:" or not head.casefold().endswith(_BASE64_END):
        return None
    start = len(head) + 1
    for chars in _HEAD_CHARS:
        try:
            return _size_of(binascii.a2b_base64(url[start : start + chars], strict_mode=True))
        except _TooShort:
            if start + chars >= len(url):
                return None
        except ValueError:  # not base64, or not ASCII
            return None
    return None


def _size_of(data: bytes) -> Size | None:
    """Raises _TooShort where more of it has to be seen."""
    try:
        size = _size(data)
    except IndexError:
        raise _TooShort from None
    return size if size is not None and min(size) > 0 else None


def _size(data: bytes) -> Size | None:
    if data.startswith(_PNG):
        return Size(_big(data, 16, 4), _big(data, 20, 4))
    if data.startswith(_JPEG):
        return _jpeg(data)
    if data.startswith(_GIFS):
        return _gif(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp(data)
    return None


def _jpeg(data: bytes) -> Size | None:
    """The largest frame that is announced before the first scan. A height of 0 is told later."""
    sizes: list[Size] = []
    at = 2
    for _ in range(STEPS_MAX):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:  # fill
            at += 1
            continue
        at += 2
        if marker in _JPEG_NO_LENGTH:
            continue
        if marker in (_JPEG_SCAN, _JPEG_END):
            return _largest(sizes)
        length = _big(data, at, 2)
        if length < 2:
            return None
        if marker in _JPEG_FRAMES:
            size = Size(_big(data, at + 5, 2), _big(data, at + 3, 2))
            if min(size) == 0:
                return None
            sizes.append(size)
        at += length
    return None


def _gif(data: bytes) -> Size | None:
    """The screen, or the first picture where that reaches beyond it."""
    screen = Size(_little(data, 6, 2), _little(data, 8, 2))
    at = 13 + _gif_colours(data[10])
    is_inside = False  # an extension: blocks with their length in front, the last one is empty
    for _ in range(STEPS_MAX):
        if is_inside:
            is_inside = data[at] > 0
            at += data[at] + 1
        elif data[at] == _GIF_EXTENSION:
            is_inside = True
            at += 2
        elif data[at] == _GIF_IMAGE:
            left, top, width, height = (_little(data, at + 1 + 2 * each, 2) for each in range(4))
            return _largest([screen, Size(left + width, top + height)])
        else:
            return None
    return None


def _gif_colours(flags: int) -> int:
    """Bytes of the table of colours."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _webp(data: bytes) -> Size | None:
    """RFC 9649: of the first chunk. Decoders refuse a picture that is not as its canvas."""
    kind = data[12:16]
    if kind == b"VP8X":
        return Size(_little(data, 24, 3) + 1, _little(data, 27, 3) + 1)
    if kind == b"VP8L" and data[20] == 0x2F:
        bits = _little(data, 21, 4)
        return Size((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if kind == b"VP8 " and (data[23], data[24], data[25]) == (0x9D, 0x01, 0x2A):
        return Size(_little(data, 26, 2) & 0x3FFF, _little(data, 28, 2) & 0x3FFF)
    return None


def _largest(sizes: list[Size]) -> Size | None:
    if not sizes:
        return None
    return Size(max(each.width for each in sizes), max(each.height for each in sizes))


def _big(data: bytes, at: int, count: int) -> int:
    _check(data, at + count)
    return int.from_bytes(data[at : at + count], "big")


def _little(data: bytes, at: int, count: int) -> int:
    _check(data, at + count)
    return int.from_bytes(data[at : at + count], "little")


def _check(data: bytes, end: int) -> None:
    if end > len(data):
        raise IndexError
