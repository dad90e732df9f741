"""The bench's reference calls the product's own scripts: what it packs is what they unpack."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("script", ["reserve", "settle"])
def test_the_reference_packs_as_many_numbers_as_the_script_unpacks(script: str) -> None:
    """In its Lua, and as its generator lists them."""
    product = (ROOT / "budgets" / "lua" / f"{script}.lua").read_text(encoding="utf-8")
    (formats,) = re.findall(r"struct\.unpack\(\s*'<((?:i8)+)', ARGV\[1\]\)", product)
    count = len(formats) // 2
    reference = (ROOT / "bench" / "budget_ledger.lua").read_text(encoding="utf-8")
    assert f'"int64_t[{count}]", plan.{script}_numbers' in reference
    assert f"ffi.string({script}_numbers, {8 * count})" in reference
