"""Beside the provider, only the servers are connected to that make keys of identities."""

import pytest

from translator.gate import CREDENTIAL_HOSTS


@pytest.mark.parametrize(
    "host",
    [
        "sts.amazonaws.com",
        "sts.eu-west-1.amazonaws.com",
        "169.254.169.254",
        "169.254.170.2",
        "oauth2.googleapis.com",
        "metadata.google.internal",
    ],
)
def test_who_gives_credentials(host: str) -> None:
    """Is let through."""
    assert CREDENTIAL_HOSTS.fullmatch(host)


@pytest.mark.parametrize(
    "host",
    [
        "sts.amazonaws.com.evil.example",
        "evil.example/sts.amazonaws.com",
        "bedrock-runtime.us-east-1.amazonaws.com",
        "generativelanguage.googleapis.com",
        "sts.a.b.amazonaws.com",
        "169.254.169.2540",
        "",
    ],
)
def test_who_does_not(host: str) -> None:
    """Is not."""
    assert not CREDENTIAL_HOSTS.fullmatch(host)
