"""What a ledger's URL may say: the forms, what each is read as, and that all else is refused."""

import pytest

from budgets.pipelined import PipelinedTransport
from budgets.redispy import RedisPyTransport
from budgets.redisurl import RedisUrl, RedisUrlInvalid, parse_redis_url
from comptroller.parts import ledger_transport

SECRET = "a-pass-word"

READ = {
    "redis://h": RedisUrl("single", (("h", 6379),)),
    "redis://:6380": RedisUrl("single", (("127.0.0.1", 6380),)),
    "redis://[::1]:7/3": RedisUrl("single", (("::1", 7),), database=3),
    "redis://u:p%40s@h:1/0": RedisUrl("single", (("h", 1),), username="u", password="p@s"),
    "redis://:p@h": RedisUrl("single", (("h", 6379),), password="p"),
    "unix:///a/data dir/ledger.sock": RedisUrl("single", unix_path="/a/data dir/ledger.sock"),
    "rediss://h/2?ssl_ca_certs=/etc/ca%20s.pem": RedisUrl(
        "single", (("h", 6379),), tls=True, database=2, ca_file="/etc/ca s.pem"
    ),
    "rediss://h?ssl_certfile=c&ssl_keyfile=k&replicas=2": RedisUrl(
        "single", (("h", 6379),), tls=True, certificate_file="c", key_file="k", replicas=2
    ),
    "redis+cluster://u:p@a:1,b,[::2]:3": RedisUrl(
        "cluster", (("a", 1), ("b", 6379), ("::2", 3)), username="u", password="p"
    ),
    "rediss+cluster://a/0": RedisUrl("cluster", (("a", 6379),), tls=True),
    "redis+sentinel://a:1,b/the-ledger": RedisUrl(
        "sentinel", (("a", 1), ("b", 26379)), service="the-ledger"
    ),
    "rediss+sentinel://u:p@a/s/4?sentinel_username=w&sentinel_password=q": RedisUrl(
        "sentinel",
        (("a", 26379),),
        tls=True,
        username="u",
        password="p",
        database=4,
        service="s",
        sentinel_username="w",
        sentinel_password="q",
    ),
}

REFUSED = (
    f"http://:{SECRET}@h",
    f"redis:/:{SECRET}@h",
    f"redis://:{SECRET}@h/zero",
    f"redis://:{SECRET}@h:0",
    f"redis://:{SECRET}@h:65536",
    f"redis://:{SECRET}@h:6379x",
    f"redis://:{SECRET}@h/0?db=1",
    f"redis://:{SECRET}@h/0#x",
    f"redis://:{SECRET}@a,b",
    f"redis://:{SECRET}@a b",
    f"redis://:{SECRET}@",
    f"redis://:{SECRET}@[::1",
    f"rediss://:{SECRET}@h?ssl_cert_reqs=none",
    f"rediss://:{SECRET}@h?ssl_certfile=a",
    f"rediss://:{SECRET}@h?replicas=-1",
    f"rediss://:{SECRET}@h?replicas=17",
    f"redis+cluster://:{SECRET}@a/1",
    f"redis+cluster://:{SECRET}@a,,b",
    f"redis+cluster://:{SECRET}@a?sentinel_password=p",
    f"redis+cluster://:{SECRET}@" + ",".join(["h"] * 33),
    f"redis+sentinel://:{SECRET}@a",
    f"redis+sentinel://:{SECRET}@a/s/x",
    f"redis+sentinel://:{SECRET}@a/s/0/1",
    "unix://host/path",
    "unix:///",
    "unix:///a?db=1",
    "",
)


@pytest.mark.parametrize(("text", "url"), READ.items(), ids=READ)
def test_a_form_is_read(text: str, url: RedisUrl) -> None:
    """Servers, credentials and options are what was written."""
    assert parse_redis_url(text) == url


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_form_is_refused(text: str) -> None:
    """With the forms or options that there are, and without the text: it may hold a password."""
    with pytest.raises(RedisUrlInvalid) as raised:
        parse_redis_url(text)
    message = str(raised.value)
    assert SECRET not in message
    assert "redis+sentinel://" in message or "redis_url" in message or "ssl_keyfile" in message


def test_a_password_is_not_shown() -> None:
    """Nor that of the sentinels."""
    url = parse_redis_url(f"redis+sentinel://:{SECRET}@h/s?sentinel_password={SECRET}")
    assert SECRET not in repr(url)


@pytest.mark.parametrize("text", READ)
async def test_the_fast_transport_has_what_it_speaks(text: str) -> None:
    """One server without TLS; everything else is redis-py's."""
    transport = ledger_transport(text)
    await transport.close()
    is_plain = text.partition(":")[0] in {"redis", "unix"}
    assert isinstance(transport, PipelinedTransport if is_plain else RedisPyTransport)
