"""Sizes: read right from every format, never too small, and never a crash or a wait."""

import base64
import struct
import time
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pricing.images import STEPS_MAX, Size, size_of_url

SIDES = st.integers(1, 16_383)


def url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def png(width: int, height: int) -> bytes:
    header = struct.pack(">II5B", width, height, 8, 2, 0, 0, 0)
    checksum = struct.pack(">I", zlib.crc32(b"IHDR" + header))
    return b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + header + checksum + b"..."


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def frame(width: int, height: int, marker: int = 0xC0) -> bytes:
    return segment(marker, struct.pack(">BHHB", 8, height, width, 3) + b"\x01\x22\x00" * 3)


def jpeg(width: int, height: int, *, before: bytes = b"", marker: int = 0xC0) -> bytes:
    return b"\xff\xd8" + before + frame(width, height, marker) + segment(0xDA, b"\x03" * 10)


def gif(screen: Size, corner: tuple[int, int], picture: Size, *, comment: bytes = b"") -> bytes:
    head = b"GIF89a" + struct.pack("<HHBBB", *screen, 0x81, 0, 0) + bytes(3 * 4)
    for at in range(0, len(comment), 255):
        part = comment[at : at + 255]
        head += b"\x21\xfe" + bytes([len(part)]) + part + b"\x00"
    return head + b"\x2c" + struct.pack("<HHHHB", *corner, *picture, 0) + b"\x02\x00"


def webp(kind: bytes, content: bytes) -> bytes:
    chunk = kind + struct.pack("<I", len(content)) + content
    return b"RIFF" + struct.pack("<I", len(chunk) + 4) + b"WEBP" + chunk


def lossy(width: int, height: int) -> bytes:
    return webp(b"VP8 ", b"\x10\x00\x00\x9d\x01\x2a" + struct.pack("<HH", width, height))


def lossless(width: int, height: int) -> bytes:
    return webp(b"VP8L", b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14))


def extended(width: int, height: int) -> bytes:
    sides = [struct.pack("<I", side - 1)[:3] for side in (width, height)]
    return webp(b"VP8X", bytes(4) + b"".join(sides))


@given(width=SIDES, height=SIDES)
def test_every_format_says_its_size(width: int, height: int) -> None:
    """PNG, JPEG, GIF and the three kinds of WebP, at any size that they can have."""
    whole = Size(width, height)
    for data in (
        png(width, height),
        jpeg(width, height),
        gif(whole, (0, 0), whole),
        lossy(width, height),
        lossless(width, height),
        extended(width, height),
    ):
        assert size_of_url(url(data)) == whole


@pytest.mark.parametrize("marker", [0xC1, 0xC2, 0xC3, 0xC9, 0xCF])
def test_every_kind_of_jpeg(marker: int) -> None:
    """Progressive, lossless and arithmetic frames are read as a baseline one."""
    assert size_of_url(url(jpeg(640, 480, marker=marker))) == Size(640, 480)


@pytest.mark.parametrize("kilobytes", [1, 3, 60, 400, 700])
def test_a_size_behind_previews_and_profiles_is_found(kilobytes: int) -> None:
    """A JPEG's size can stand behind kilobytes of Exif, with a smaller picture in it."""
    preview = jpeg(160, 120).ljust(60_000, b"\x00")
    parts = [segment(0xE1, preview[: 1024 * min(kilobytes, 58)])] * max(1, kilobytes // 58)
    data = jpeg(4032, 3024, before=b"".join(parts) + b"\xff\xff" + segment(0xDB, b"\x00" * 65))
    assert size_of_url(url(data)) == Size(4032, 3024)


def test_the_largest_of_several_sizes_counts() -> None:
    """A second frame, or a picture that reaches beyond its GIF's screen, is not hidden by a small
    one before it."""
    two = b"\xff\xd8" + frame(1, 1) + frame(900, 700) + segment(0xDA, b"\x03" * 10)
    assert size_of_url(url(two)) == Size(900, 700)
    beyond = gif(Size(1, 1), (10, 20), Size(800, 600), comment=b"c" * 700)
    assert size_of_url(url(beyond)) == Size(810, 620)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "https://example.org/a.png",
        "data:image/png,%89PNG",
        "data:image/png;base64",
        "data:image/png;base64,",
        "data:image/png;base64,####",
        "data:image/png;base64,iVBOR\u00e9",
        url(b"\x89PNG\r\n\x1a\n"),
        url(png(0, 5)),
        url(png(5, 0)),
        url(jpeg(0, 9)),
        url(jpeg(9, 0)),
        url(b"\xff\xd8\xff\xe0\x00\x00" + bytes(200)),
        url(b"\xff\xd8" + segment(0xDA, b"")),
        url(b"\xff\xd8\xff\xd9"),
        url(b"\xff\xd8" + segment(0xE0, b"JFIF") + b"\x00\x00"),
        url(b"GIF89a" + bytes(7)),
        url(b"GIF89a\x05\x00\x05\x00\x00\x00\x00;"),
        url(b"RIFF\x00\x00\x00\x00WEBPVP8 " + bytes(20)),
        url(b"RIFF\x00\x00\x00\x00WEBPALPH" + bytes(20)),
        url(b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>", "image/svg+xml"),
        url(b"%PDF-1.7", "application/pdf"),
    ],
)
def test_what_is_no_readable_picture_has_no_size(text: str) -> None:
    """Elsewhere, damaged, cut off, of another format: None, so that the most is counted."""
    assert size_of_url(text) is None


@settings(max_examples=500, deadline=None)
@given(
    start=st.sampled_from([b"", png(9, 9), jpeg(9, 9), gif(Size(9, 9), (0, 0), Size(9, 9))])
    | st.sampled_from([lossy(9, 9), lossless(9, 9), extended(9, 9)]),
    cut=st.integers(0, 60),
    rest=st.binary(max_size=200),
)
def test_no_bytes_make_it_fail(start: bytes, cut: int, rest: bytes) -> None:
    """Any bytes behind any beginning give a size above zero or None."""
    size = size_of_url(url(start[:cut] + rest))
    assert size is None or min(size) > 0


@given(data=st.sampled_from([png(300, 200), jpeg(300, 200), lossy(300, 200)]))
def test_the_declared_type_does_not_matter(data: bytes) -> None:
    """Decoders look at the bytes, and so do we; spelling of the scheme is free."""
    for kind in ("image/png", "image/jpeg", "image/webp", "", "text/plain;charset=utf-8"):
        assert size_of_url(url(data, kind)) == Size(300, 200)
        assert size_of_url(url(data, kind).replace("data:", "DATA:", 1)) == Size(300, 200)


def test_looking_is_cheap_whatever_the_picture_weighs() -> None:
    """Only the head of eight megabytes is decoded."""
    large = url(png(4000, 3000) + bytes(6_000_000))
    start = time.process_time()
    for _ in range(100):
        assert size_of_url(large) == Size(4000, 3000)
    assert time.process_time() - start < 0.5


def test_a_header_without_end_is_not_followed() -> None:
    """Six megabytes of the shortest segments, of fill and of comments: given up at once."""
    chains = [
        b"\xff\xd8" + b"\xff\xe0\x00\x02" * 1_500_000,
        b"\xff\xd8" + b"\xff" * 6_000_000,
        b"GIF89a" + bytes(7) + b"\x21\xfe\x01\x00\x00" * 1_200_000,
    ]
    urls = [url(chain) for chain in chains]
    start = time.process_time()
    for chain in urls:
        assert size_of_url(chain) is None
    assert time.process_time() - start < 0.5


def test_a_size_behind_too_many_segments_is_not_known() -> None:
    """Each costs time, and no file has a thousand."""
    for count, size in ((STEPS_MAX - 2, Size(640, 480)), (STEPS_MAX, None)):
        chain = jpeg(640, 480, before=b"\xff\xe0\x00\x02" * count)
        assert size_of_url(url(chain)) == size


def test_a_size_beyond_what_is_decoded_is_not_known() -> None:
    """A megabyte of base64 is the most that is decoded."""
    parts = [segment(0xE2, bytes(65_000))] * 20
    assert size_of_url(url(jpeg(640, 480, before=b"".join(parts)))) is None


@pytest.mark.parametrize(
    "head",
    [
        "iVBORw0KGgoAAAANSUhEUgAAAUEAAAB7CAIAAABl+qUZ",
        (
            "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAP//////////////////////////////////////////////"
            "////////////////////////////////////////2wBDAf//////////////////////////////////"
            "////////////////////////////////////////////////////wgARCAB7AUEDASIAAhEBAxEB/8QA"
            "FQABAQAAAAAAAAAAAAAAAAAAAAH/xAAWAQEBAQAAAAAAAAAAAAAAAAAAAQL/2gAMAwEAAhADEAAAAYJo"
        ),
        "R0lGODdhQQF7AIEAAP8AAAAAAAAAAAAAACwAAAAAQQF7AEAI/wABCBxIsKDB",
        "UklGRiYAAABXRUJQVlA4TBoAAAAvQIEeAAcQ/Y/+BxSk",
        "UklGRpYAAABXRUJQVlA4IIoAAAAwDACdASpBAXsAP83m",
    ],
    ids=["png", "progressive jpeg", "gif", "lossless webp", "lossy webp"],
)
def test_what_a_real_encoder_writes_is_read(head: str) -> None:
    """The heads of files of 321 x 123 pixels that Pillow wrote."""
    assert size_of_url(f"data:image/any;base64,{head}") == Size(321, 123)
