"""LiteLLM sees of the environment who this machine is, and nothing that would choose a key or a
server for a call."""

import pytest

from tests.translator import wires
from tests.translator.standing import (
    NEEDS_LITELLM,
    Translator,
    provider_at,
)
from translator.surroundings import superfluous

KEPT = (
    *("PATH", "HOME", "PYTHONPATH", "HTTPS_PROXY", "no_proxy", "SSL_CERT_FILE"),
    *("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"),
    *("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_REGION", "AWS_CONFIG_FILE"),
    *("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT", "VERTEXAI_PROJECT"),
)
TAKEN = (
    *("MISTRAL_API_KEY", "MISTRAL_API_BASE", "OPENAI_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY"),
    *("AZURE_AD_TOKEN", "AZURE_API_BASE", "AWS_BEARER_TOKEN_BEDROCK", "VERTEXAI_API_BASE"),
    *("AWS_BEDROCK_RUNTIME_ENDPOINT", "AWS_ENDPOINT_URL_STS", "LITELLM_LOG", "DEFAULT_MAX_TOKENS"),
)


@pytest.mark.parametrize("name", KEPT)
def test_who_the_machine_is_stays(name: str) -> None:
    """And how it reaches the network."""
    assert superfluous([name]) == []


@pytest.mark.parametrize("name", TAKEN)
def test_what_chooses_a_key_or_a_server_goes(name: str) -> None:
    """It belongs into an entry."""
    assert superfluous([name, "PATH"]) == [name]


@NEEDS_LITELLM
async def test_a_key_of_the_environment_does_not_win_over_that_of_an_entry(
    translator: Translator,
) -> None:
    """AWS_BEARER_TOKEN_BEDROCK, which LiteLLM puts before the keys of a call: another account
    would pay, and the server of this entry would be shown its key."""
    async with provider_at(translator.port, wires.speaks(wires.converse())) as provider:
        assert (await translator.ask("converse")).status_code == 200
        authorization = provider.last.headers["authorization"]
    assert "Credential=AKIAEXAMPLE" in authorization
