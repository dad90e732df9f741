"""A request leaves for the scheme, host and port that its entry names, or that LiteLLM names when
no caller has a say in it, and for no other."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest

from translator.app import TranslatorApp
from translator.asked import Asked, read
from translator.deployment import Deployment
from translator.errors import Refused
from translator.gate import PASSAGE
from translator.hop import DEPLOYMENT_HEADER, TARGET
from translator.origins import named_origins
from translator.passage import Passage
from translator.rehearsal import AGAIN_S, Rehearsals

BODY = msgspec.json.encode(
    {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 16, "model": "m"}
)
PATH = "/v1/chat/completions"
ASKED = b'{"messages": [{"role": "user", "content": "hello"}], "max_tokens": 16}'


def deployed(provider: str = "mistral", **params: str) -> Deployment:
    """One with these parameters."""
    return Deployment("id", provider, "m", params)


def passes(origins: frozenset[str], url: str) -> bool:
    """Whether a well-formed request leaves for this URL."""
    passage = Passage(read(ASKED), "a model", origins)
    try:
        passage.check("POST", httpx.URL(f"{url}{PATH}"), BODY)
    except Refused:
        return False
    return passage.refusal is None


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("https://a.example/v1", "https://a.example"),
        ("https://a.example:443/v1", "https://a.example"),
        ("https://A.Example", "https://a.example:443"),
        ("http://a.example:80", "http://a.example"),
        ("http://[::1]:8000/v1", "http://[::1]:8000"),
    ],
)
def test_the_server_of_the_entry_is_reached(base: str, url: str) -> None:
    """However the two are written."""
    assert passes(named_origins(deployed(api_base=base)), url)


@pytest.mark.parametrize(
    "url",
    [
        "http://a.example:8443",
        "https://a.example",
        "https://a.example:8444",
        "https://b.example:8443",
        "https://a.example.b.example:8443",
        "https://a.example:8443@b.example:8443",
        "https://b.a.example:8443",
    ],
)
def test_another_is_not(url: str) -> None:
    """Another scheme, port or host, however like it."""
    origins = named_origins(deployed(api_base="https://a.example:8443"))
    assert passes(origins, "https://a.example:8443")
    assert not passes(origins, url)


def test_a_bedrock_entry_can_name_its_server_in_two_ways() -> None:
    """LiteLLM goes to aws_bedrock_runtime_endpoint where both are there. Others do not know it."""
    endpoint = {"aws_bedrock_runtime_endpoint": "https://vpce.example"}
    assert named_origins(deployed("bedrock_converse", **endpoint)) == {"https://vpce.example"}
    assert named_origins(deployed("bedrock", **endpoint, api_base="https://a.example")) == {
        "https://vpce.example",
        "https://a.example",
    }
    assert named_origins(deployed(**endpoint)) == frozenset()


def test_what_is_no_url_to_httpx_leads_nowhere() -> None:
    """Nor to where LiteLLM would go without."""
    origins = named_origins(deployed(api_base="https://999.1.1.1/v1"))
    assert origins
    assert not passes(origins, "https://api.mistral.ai")


class Fake:
    """LiteLLM, which goes to `url` by itself; None: it raises before. It waits for `ready`."""

    def __init__(self, url: str | None) -> None:
        self.url = url
        self.calls = 0
        self.ready = asyncio.Event()
        self.ready.set()

    async def answer(self, deployment: Deployment, asked: Asked) -> dict[str, Any]:
        """See Translates."""
        del asked
        self.calls += 1
        await self.ready.wait()
        if self.url is None:
            raise ValueError("no credentials yet")
        passage = PASSAGE.get()
        assert passage is not None
        passage.check("POST", httpx.URL(deployment.params.get("api_base", self.url) + PATH), BODY)
        raise AssertionError("a rehearsal was sent")

    async def stream(self, deployment: Deployment, asked: Asked) -> AsyncIterator[dict[str, Any]]:
        """See Translates."""
        yield await self.answer(deployment, asked)


async def test_litellms_own_server_is_learned_once() -> None:
    """And by itself: what the call of a caller goes to afterwards changes nothing."""
    engine = Fake("https://api.example")
    rehearsals = Rehearsals(engine)
    assert await rehearsals.origins(deployed()) == {"https://api.example"}
    engine.url = "https://evil.example"
    assert await rehearsals.origins(deployed()) == {"https://api.example"}
    assert engine.calls == 1
    assert PASSAGE.get() is None


async def test_what_was_tried_at_the_start_is_known() -> None:
    """The first of each provider, and no provider twice."""
    engine = Fake("https://api.example")
    rehearsals = Rehearsals(engine)
    other = Deployment("other", "mistral", "n", {})
    await rehearsals.begin([deployed(), other])
    await rehearsals.begin([other])
    assert engine.calls == 1
    assert await rehearsals.origins(deployed()) == {"https://api.example"}
    assert await rehearsals.origins(other) == {"https://api.example"}
    assert engine.calls == 2


async def test_who_names_a_server_goes_there_alone() -> None:
    """LiteLLM is not asked."""
    engine = Fake("https://api.example")
    origins = await Rehearsals(engine).origins(deployed(api_base="https://a.example/v1"))
    assert origins == {"https://a.example"}
    assert engine.calls == 0


async def test_a_rehearsal_that_failed_is_tried_again_later() -> None:
    """An identity that could not be had at the start may be there later. Not at every request: each
    would wait for it, and write into the log."""
    engine, now_s = Fake(None), 100.0
    rehearsals = Rehearsals(engine, lambda: now_s)
    await rehearsals.begin([deployed()])
    engine.url = "https://api.example"
    now_s += AGAIN_S - 1
    with pytest.raises(Refused, match="no credentials yet"):
        await rehearsals.origins(deployed())
    assert engine.calls == 1
    now_s += 1
    assert await rehearsals.origins(deployed()) == {"https://api.example"}
    assert engine.calls == 2


@pytest.mark.parametrize("url", ["https://api.example", None])
async def test_who_asks_meanwhile_waits_for_the_same_rehearsal(url: str | None) -> None:
    """Whether it fails or not; and whoever leaves does not end it for the others."""
    engine = Fake(url)
    engine.ready.clear()
    rehearsals = Rehearsals(engine)
    first, *others = (asyncio.create_task(rehearsals.origins(deployed())) for _ in range(3))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait((first,))
    engine.ready.set()
    answers = await asyncio.gather(*others, return_exceptions=True)
    if url is None:
        assert [type(each) for each in answers] == [Refused, Refused]
    else:
        assert answers == [frozenset((url,))] * 2
    assert engine.calls == 1
    assert first.cancelled()


async def test_a_rehearsal_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """All requests of its deployment wait for it."""
    monkeypatch.setattr("translator.rehearsal.REHEARSAL_S_MAX", 0.01)
    engine = Fake("https://api.example")
    engine.ready.clear()
    with pytest.raises(Refused, match="as api_base: TimeoutError"):
        await Rehearsals(engine).origins(deployed())


async def test_without_tls_a_server_must_be_named(caplog: pytest.LogCaptureFixture) -> None:
    """LiteLLM has some defaults at localhost, in the clear. The log says it at the start."""
    rehearsals = Rehearsals(Fake("http://localhost:8080"))
    await rehearsals.begin([deployed()])
    assert "mistral/m: its requests will be refused: LiteLLM knows no server" in caplog.text
    assert "(http://localhost:8080)" in caplog.text
    with pytest.raises(Refused, match=r"over https: write .* as api_base"):
        await rehearsals.origins(deployed())
    assert not passes(frozenset(), "http://localhost:8080")
    assert not passes(frozenset(), "https://api.example")


async def test_why_a_server_is_not_known_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """To who asks and in the log, without secrets: it is another reason than a server without
    TLS."""
    deployment = deployed(api_key="no credentials")
    engine = Fake(None)
    app = TranslatorApp({deployment.id: deployment}, engine, Rehearsals(engine).origins)
    transport = httpx.ASGITransport(app)
    headers = {DEPLOYMENT_HEADER.decode(): deployment.id}
    async with httpx.AsyncClient(transport=transport, base_url="http://translator") as client:
        answer = await client.post(TARGET.decode(), content=ASKED, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == (
        "to which server of this model's provider LiteLLM goes could not be learned; ask again, or "
        "write the server into the entry, as api_base: [redacted] yet"
    )
    assert "mistral/m: its requests will be refused: to which server" in caplog.text
    assert "[redacted] yet" in caplog.text


async def test_litellm_that_asks_nobody_has_shown_no_server() -> None:
    """As one that answers by itself."""

    class Mocked(Fake):
        async def answer(self, deployment: Deployment, asked: Asked) -> dict[str, Any]:
            del deployment, asked
            return {}

    with pytest.raises(Refused, match="it sent nothing"):
        await Rehearsals(Mocked(None)).origins(deployed())
