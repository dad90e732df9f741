"""Accounts of the records: derived passwords, and who gets in."""

import hmac
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from clickhouse.accounts import Accounts, RecordsSecret, SecretUnusable


def test_the_secret_is_made_once_and_private(tmp_path: Path) -> None:
    """The file appears with mode 0600, and a second start reads the same secret."""
    path = tmp_path / "data" / "records.secret"
    first = RecordsSecret.load_or_create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(bytes.fromhex(first.value)) == 32
    assert RecordsSecret.load_or_create(path) == first
    assert RecordsSecret.load_or_create(tmp_path / "other") != first
    assert first.value not in repr(first)
    assert [each.name for each in path.parent.iterdir()] == ["records.secret"]


def test_processes_that_start_together_agree(tmp_path: Path) -> None:
    """Whoever is first makes it, and nobody reads a half-written one."""
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(RecordsSecret.load_or_create, [tmp_path / "records.secret"] * 64))
    assert len(set(made)) == 1


@pytest.mark.parametrize("content", ["", "x" * 64, "ab", "ä" * 64, "A" * 64])
def test_a_damaged_secret_is_told(tmp_path: Path, content: str) -> None:
    """Never replaced in silence: passwords that were handed out would stop working."""
    path = tmp_path / "records.secret"
    path.touch(mode=0o600)
    path.write_text(content, encoding="utf-8")
    with pytest.raises(SecretUnusable):
        RecordsSecret.load_or_create(path)
    assert path.read_text(encoding="utf-8") == content


def test_a_secret_that_others_can_read_is_told(tmp_path: Path) -> None:
    """A secret that another user of the machine may have read protects nothing."""
    path = tmp_path / "records.secret"
    RecordsSecret.load_or_create(path)
    path.chmod(0o640)
    with pytest.raises(SecretUnusable, match="chmod 600"):
        RecordsSecret.load_or_create(path)


def test_passwords_are_the_documented_hmac() -> None:
    """Whoever holds the secret can compute a password without this code."""
    secret = RecordsSecret("ab" * 32)
    expected = hmac.new(bytes.fromhex("ab" * 32), b"records:acme", "sha256").hexdigest()
    assert secret.password_of("acme") == expected
    assert secret.password_of("reader") != expected


def test_who_gets_in() -> None:
    """The right password of a user opens that user's rows and no others."""
    secret = RecordsSecret("01" * 32)
    accounts = Accounts(secret)
    reader = accounts.check("reader", secret.password_of("reader"))
    assert reader is not None
    assert reader.organisation is None
    assert not reader.may_write
    acme = accounts.check("acme", secret.password_of("acme"))
    assert acme is not None
    assert (acme.organisation, acme.may_write) == ("acme", False)
    for user, password in [
        ("acme", secret.password_of("globex")),
        ("reader", secret.password_of("acme")),
        ("acme", secret.password_of("acme").upper()),
        ("acme", secret.password_of("acme") + " "),
        ("Acme", secret.password_of("acme")),
        ("acme", ""),
        ("", ""),
        ("", secret.password_of("")),
        ("default", ""),
        ("acme", "\ud800"),
        ("\ud800", "x"),
        ("a" * 129, secret.password_of("a" * 129)),
        ("acme", "x" * 10_000),
    ]:
        assert accounts.check(user, password) is None, (user, password)


def test_the_recorder_gets_in_only_where_it_is_enabled() -> None:
    """No HTTP client writes unless the process was started to allow it."""
    secret = RecordsSecret("01" * 32)
    password = secret.password_of("recorder")
    assert Accounts(secret).check("recorder", password) is None
    recorder = Accounts(secret, recorder_enabled=True).check("recorder", password)
    assert recorder is not None
    assert recorder.may_write
