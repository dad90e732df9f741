"""docs/providers.md says what there is: who speaks to whom, what may be written and what leaves."""

import re
from pathlib import Path

import pytest

from comptroller.settings import load_settings
from comptroller.translated import INSTALL, PARAMS, is_translated
from gateway.providers import PROVIDERS
from tests.translator.standing import NEEDS_LITELLM
from translator.asked import PASSED
from translator.shapes import SHAPES

TEXT = (Path(__file__).parent.parent / "docs" / "providers.md").read_text(encoding="utf-8")


def named(start: str, end: str) -> set[str]:
    """All code between two places of the page."""
    passage = TEXT.partition(start)[2].partition(end)[0]
    assert passage
    return set(re.findall(r"`([\w.]+)`", passage))


def test_the_formats_and_their_usage() -> None:
    """Each has its row, and no row is left of one that is gone."""
    rows = re.findall(r"^  \| ([^|`]+?) \| `([\w-]+)` \|$", TEXT, re.MULTILINE)
    assert sorted(rows) == sorted((each.name, each.api) for each in SHAPES)


def test_the_fields_and_parameters() -> None:
    """To the name."""
    assert named("these fields are passed on:", "All others are refused") == set(PASSED)
    assert named("`litellm_params` may have", "An entry says itself") == set(PARAMS)
    assert f"`{INSTALL}`" in TEXT


def test_who_the_gateway_speaks_to_by_itself() -> None:
    """The names of the table."""
    rows = "".join(line for line in TEXT.splitlines() if "every server with its API" in line)
    assert set(re.findall(r"`(\w+)/`", rows)) == set(PROVIDERS)


@NEEDS_LITELLM
def test_the_example_and_the_others(tmp_path: Path) -> None:
    """It loads, at listed prices; what is said to go through LiteLLM does."""
    found = re.search(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    assert found is not None
    path = tmp_path / "comptroller.yaml"
    path.write_text(found[1])
    names = ("GEMINI_API_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    models = load_settings(path, dict.fromkeys(names, "a-key")).models
    assert [each.provider for each in models] == ["gemini", "bedrock"]
    row = next(line for line in TEXT.splitlines() if "| the translator |" in line)
    others = re.findall(r"`(\w+)/`", row)
    assert others
    if not all(is_translated(each) or each in PROVIDERS for each in others):
        pytest.fail(f"{others} are not all served")
