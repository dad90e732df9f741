"""The mutants are there to be made: `make mutants` makes them."""

import pytest

from tests.mutants.catalogue import MUTANTS, ROOT, missing
from tests.mutants.mutant import Mutant

LEAST = 25


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda each: each.name)
def test_a_mutant_can_be_made(mutant: Mutant) -> None:
    """Its text stands in its file once, so that who changes that line changes the mutant, too."""
    assert not missing(mutant)
    assert mutant.new != mutant.old
    for test in mutant.tests:
        file, _, name = test.partition("::")
        assert f"def {name}" in (ROOT / file).read_text(encoding="utf-8")


def test_they_are_many_and_distinct() -> None:
    """No two of them are the same."""
    assert len({each.name for each in MUTANTS}) == len(MUTANTS) >= LEAST
    assert len({(each.file, each.old, each.new) for each in MUTANTS}) == len(MUTANTS)
