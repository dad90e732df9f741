"""A process takes a new configuration by the environment of its start, whatever has become of it:
the translator's is cut down to what LiteLLM may see."""

import os

import pytest

from comptroller.channel import Configuration
from comptroller.document import Written
from comptroller.hearing import Hearing
from comptroller.settings import Settings

TEXT = "keys: [{name: ci, scope: acme/a, secret: os.environ/OF_THE_START}]"
SECRET = "ck-a-secret-of-some-length"


async def test_variables_are_those_of_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Named by a file that comes later."""
    monkeypatch.setenv("OF_THE_START", SECRET)
    environment = dict(os.environ)
    monkeypatch.delenv("OF_THE_START")
    taken: list[Settings] = []

    async def apply(settings: Settings) -> None:
        taken.append(settings)

    hearing = Hearing(apply, environment=environment)
    await hearing._become(Configuration(2, Written("comptroller.yaml", TEXT)))
    assert [each.secret for settings in taken for each in settings.keys] == [SECRET]
