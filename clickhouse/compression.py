"""Content codings of the records' HTTP: gzip, deflate, zstd and LZ4 frames, both ways, bounded.

zstd is in Python from 3.14 on and comes with clickhouse-connect before that, as LZ4 does; where
one is missing it is not offered.
"""

import importlib
import zlib
from collections.abc import Callable, Mapping
from typing import Protocol, cast

from clickhouse.errors import Code, StoreRefused


class Encoder(Protocol):
    """Compresses a stream."""

    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


class _Decoder(Protocol):
    """Decompresses one frame; `eof` once it is whole."""

    eof: bool
    unused_data: bytes

    def decompress(self, data: bytes, max_length: int = ..., /) -> bytes: ...


class _LZ4Frames(Protocol):
    """What is used of lz4.frame."""

    def LZ4FrameCompressor(self) -> "_LZ4Compressor": ...  # noqa: N802  # its name
    def LZ4FrameDecompressor(self) -> _Decoder: ...  # noqa: N802  # its name


class _LZ4Compressor(Protocol):
    def begin(self) -> bytes: ...
    def compress(self, data: bytes) -> bytes: ...
    def flush(self) -> bytes: ...


class _Zstd(Protocol):
    """What is used of compression.zstd, which backports.zstd has too."""

    def ZstdCompressor(self) -> Encoder: ...  # noqa: N802  # its name
    def ZstdDecompressor(self) -> _Decoder: ...  # noqa: N802  # its name


class _LZ4Encoder:
    """An LZ4 frame begins with a header that nobody asks for."""

    def __init__(self, lz4: _LZ4Frames) -> None:
        self._compressor = lz4.LZ4FrameCompressor()
        self._head = self._compressor.begin()

    def compress(self, data: bytes, /) -> bytes:
        """As Encoder."""
        head, self._head = self._head, b""
        return head + self._compressor.compress(data)

    def flush(self) -> bytes:
        """As Encoder."""
        head, self._head = self._head, b""
        return head + self._compressor.flush()


def _found(*names: str) -> object | None:
    for name in names:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    return None


def _codings() -> tuple[Mapping[str, Callable[[], Encoder]], Mapping[str, Callable[[], _Decoder]]]:
    encoders: dict[str, Callable[[], Encoder]] = {
        "gzip": lambda: cast(Encoder, zlib.compressobj(1, wbits=31)),
        "deflate": lambda: cast(Encoder, zlib.compressobj(1, wbits=15)),
    }
    decoders: dict[str, Callable[[], _Decoder]] = {
        "gzip": lambda: cast(_Decoder, zlib.decompressobj(wbits=31)),
        "deflate": lambda: cast(_Decoder, zlib.decompressobj(wbits=15)),
    }
    if (module := _found("compression.zstd", "backports.zstd")) is not None:
        zstd = cast(_Zstd, module)
        encoders["zstd"] = zstd.ZstdCompressor
        decoders["zstd"] = zstd.ZstdDecompressor
    if (module := _found("lz4.frame")) is not None:
        lz4 = cast(_LZ4Frames, module)
        encoders["lz4"] = lambda: _LZ4Encoder(lz4)
        decoders["lz4"] = lz4.LZ4FrameDecompressor
    return encoders, decoders


_ENCODERS, _DECODERS = _codings()
CODINGS = frozenset(_ENCODERS)


def encoder_of(coding: str) -> Encoder:
    """A fresh one; `coding` is one of CODINGS."""
    return _ENCODERS[coding]()


def accepted(header: str) -> str:
    """The first coding of an Accept-Encoding header that is offered here; "" for none. Quality
    values other than 0 are not weighed."""
    for part in header.lower().split(","):
        name, _, quality = part.partition(";")
        refused_by_client = quality.replace(" ", "") in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
        if name.strip() in CODINGS and not refused_by_client:
            return name.strip()
    return ""


def decompressed(body: bytes, coding: str, bytes_max: int) -> bytes:
    """The whole body, stopped at the bound: a small one can hold gigabytes. Raises StoreRefused
    (748 unknown coding, 117 damaged, 229 too large)."""
    if coding in {"", "identity"}:
        return body
    if coding not in _DECODERS:
        known = ", ".join(sorted(_DECODERS))
        raise StoreRefused(Code.UNSUPPORTED_MEDIA_TYPE, f"Content-Encoding is one of {known}")
    pieces: list[bytes] = []
    left = bytes_max
    while body:
        piece, body = _frame(_DECODERS[coding](), body, coding, left + 1)
        left -= len(piece)
        pieces.append(piece)
        if left < 0:
            raise too_large(bytes_max)
    return b"".join(pieces)


def _frame(decoder: _Decoder, body: bytes, coding: str, bytes_max: int) -> tuple[bytes, bytes]:
    """One frame, and what follows it: pieces compressed apart may be sent together."""
    try:
        plain = decoder.decompress(body, bytes_max)
    except Exception as error:  # noqa: BLE001  # each library has errors of its own
        raise StoreRefused(
            Code.INCORRECT_DATA, f"the body is not valid {coding}: {error}"
        ) from None
    if not decoder.eof and len(plain) < bytes_max:
        raise StoreRefused(Code.INCORRECT_DATA, f"the body is not a whole {coding} stream")
    return plain, decoder.unused_data or b""


def too_large(bytes_max: int) -> StoreRefused:
    """The error for a body beyond its bound."""
    return StoreRefused(
        Code.QUERY_IS_TOO_LARGE, f"the body is larger than {bytes_max} bytes, decompressed"
    )
