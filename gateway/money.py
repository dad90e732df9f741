"""Nano-dollars as people and headers read them: exact decimal strings, never floats."""

NUSD_PER_USD = 10**9


def dollars(nusd: int) -> str:
    """The exact amount with at least two decimals: 12_000_500 is "0.0120005"."""
    sign = "-" if nusd < 0 else ""
    whole, rest = divmod(abs(nusd), NUSD_PER_USD)
    decimals = f"{rest:09d}".rstrip("0").ljust(2, "0")
    return f"{sign}{whole}.{decimals}"
