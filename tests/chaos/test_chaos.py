"""A chaos run of a minute: `make chaos` plays for longer, see docs/chaos.md."""

import secrets
from pathlib import Path

import pytest

from tests.chaos.run import chaos
from tests.chaos.stage import Options

SECONDS = 60.0


@pytest.mark.chaos
@pytest.mark.timeout(400)
async def test_nothing_is_lost_or_overspent(folder: Path) -> None:
    """Every part is killed and stopped under load, from a fresh seed; the records, the ledger, the
    provider's book and what the clients were told agree afterwards."""
    options = Options(SECONDS, seed=secrets.randbelow(10**9))
    report = await chaos(folder, options)
    assert report.ok, report.markdown()
