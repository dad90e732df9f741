"""What the catalog says a model costs is what its provider's page said on the day.

The vectors were worked by hand from those pages: they judge lists, overlay and names together."""

from typing import Any

import pytest

from pricing.catalog import Catalog
from tests.pricing.catalog.reading import at_ms, differences, vectors

CATALOG = Catalog.load()


@pytest.mark.parametrize(
    "row", vectors(), ids=lambda row: f"{row['provider']}/{row['model']}: {row['name']}"
)
def test_each_vector_finds_its_model_at_its_price(row: dict[str, Any]) -> None:
    """(provider, model, day) of every vector resolves, and each of its prices is the catalog's, in
    its service tier, batch, region, context length and hour."""
    entry = CATALOG.find(row["provider"], row["model"], at_ms(row))
    assert differences(row, entry.info) == []
