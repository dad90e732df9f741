"""What a program finds in its environment: little of the server's, and never a secret of it."""

from collections.abc import Iterator, Mapping

FROM_SERVER = frozenset(
    (
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR"),
        *("VIRTUAL_ENV", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
        "NODE_EXTRA_CA_CERTS",
    )
)
"""And LC_*. What else a step needs, its definition says (`env`)."""


def environment_of(
    server: Mapping[str, str], step: Mapping[str, str], attempt: Mapping[str, str]
) -> dict[str, str]:
    """The later ones win: what is the attempt's own cannot be changed by its step."""
    return {**dict(_let_through(server)), **step, **attempt}


def _let_through(server: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, value in server.items():
        if name in FROM_SERVER or name.startswith("LC_"):
            yield name, value
