"""Content codings: what was compressed comes back, and a bomb does not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickhouse.compression import CODINGS, accepted, decompressed, encoder_of
from clickhouse.errors import StoreRefused


def compressed(coding: str, *pieces: bytes) -> bytes:
    """Pieces through one encoder."""
    encoder = encoder_of(coding)
    return b"".join([*(encoder.compress(piece) for piece in pieces), encoder.flush()])


def test_all_that_drivers_ask_for_is_there() -> None:
    """clickhouse-connect offers these four."""
    assert {"lz4", "zstd", "gzip", "deflate"} == CODINGS


@pytest.mark.parametrize("coding", sorted(CODINGS))
@given(pieces=st.lists(st.binary(max_size=2_000), max_size=5))
def test_what_was_compressed_comes_back(coding: str, pieces: list[bytes]) -> None:
    """In any pieces, empty ones too, and as frames sent one behind another."""
    plain = b"".join(pieces)
    once = compressed(coding, *pieces)
    assert decompressed(once, coding, 10_000) == plain
    if coding != "deflate":
        assert decompressed(once + once, coding, 20_000) == plain + plain


@pytest.mark.parametrize("coding", sorted(CODINGS))
def test_the_bound_is_exact(coding: str) -> None:
    """As many bytes as allowed pass, one more does not, in one frame or in several."""
    assert len(decompressed(compressed(coding, b"x" * 1000), coding, 1000)) == 1000
    for body in (
        compressed(coding, b"x" * 1001),
        compressed(coding, b"x" * 600) + compressed(coding, b"x" * 401),
        compressed(coding, b"\0" * 50_000_000),
    ):
        with pytest.raises(StoreRefused) as caught:
            decompressed(body, coding, 1000)
        assert caught.value.code == 229


@pytest.mark.parametrize("coding", sorted(CODINGS))
@given(noise=st.binary(min_size=1, max_size=200))
def test_damage_is_told(coding: str, noise: bytes) -> None:
    """Nonsense and a cut stream are errors of ours, never exceptions of a library."""
    for body in (noise, compressed(coding, b"x" * 500 + noise)[:-3]):
        try:
            decompressed(body, coding, 10_000)
        except StoreRefused as error:
            assert error.code in {117, 229}  # noqa: PT017  # noise may be a stream by chance


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        ("", ""),
        ("identity", ""),
        ("br", ""),
        ("gzip, deflate, br", "gzip"),
        ("lz4,zstd,gzip", "lz4"),
        ("br;q=1.0, ZSTD;q=0.5", "zstd"),
        ("gzip;q=0, zstd", "zstd"),
        ("gzip; q=0", ""),
        ("*", ""),
    ],
)
def test_the_first_coding_that_both_know(header: str, coding: str) -> None:
    """In the client's order."""
    assert accepted(header) == coding
