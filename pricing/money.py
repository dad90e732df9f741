"""Nano-dollars as people and headers read them: exact decimal strings, never floats."""


def dollars(nusd: int) -> str:
    """The exact amount with at least two decimals: 12_000_500 is "0.0120005"."""
    if nusd < 0:
        return "-" + dollars(-nusd)
    digits = f"{nusd:010d}"
    return f"{digits[:-9]}.{digits[-9:-7]}{digits[-7:].rstrip('0')}"
