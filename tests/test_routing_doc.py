"""docs/routing.md says what is read, and its example and query work."""

import re
from pathlib import Path

from comptroller import router_settings
from comptroller.settings import load_settings
from gateway.routing import ATTEMPTS_MAX

TEXT = (Path(__file__).parent.parent / "docs" / "routing.md").read_text(encoding="utf-8")


def test_the_example_loads(tmp_path: Path) -> None:
    """Two deployments, a fallback, an alias and an admin token."""
    found = re.search(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    assert found is not None
    path = tmp_path / "comptroller.yaml"
    path.write_text(found.group(1))
    secrets = {"OPENAI_API_KEY": "sk-of-the-provider", "MASTER_KEY": "sk-of-some-length-here"}
    settings = load_settings(path, secrets)
    assert [each.name for each in settings.models] == ["chat", "chat", "spare"]
    assert settings.router.rules.fallbacks == {"chat": ("spare",)}
    assert settings.router.aliases == {"gpt-4": "chat"}
    assert settings.admin_token == secrets["MASTER_KEY"]


def test_every_field_that_is_read_is_named() -> None:
    """In the table of sections; and the bound of attempts is the code's."""
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", TEXT, re.MULTILINE))
    for name in router_settings.ROUTER_FIELDS:
        assert f"`{name}`" in rows["router_settings"], name
    assert f"At most {ATTEMPTS_MAX} are made" in TEXT
