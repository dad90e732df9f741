"""What `comptroller up` prints when all parts serve: where, with which key, and what to try."""

import json
import shlex
from dataclasses import dataclass

from comptroller.first_key import DEMO_BUDGET, DEMO_KEY_ID, FirstKey
from comptroller.settings import Settings

_ANY = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104  # how to reach it from here


@dataclass(frozen=True, slots=True)
class Greeting:
    """The ports are those that were bound, where a setting says 0. `first` is the first key where
    none is declared."""

    settings: Settings
    port: int
    admin_port: int
    first: FirstKey | None = None

    @property
    def base_url(self) -> str:
        """What SDKs are pointed at."""
        return f"{address(self.settings.host, self.port)}/v1"

    @property
    def admin_url(self) -> str:
        """Of the admin API."""
        return address(self.settings.admin_host, self.admin_port)

    def text(self) -> str:
        """Lines for a person. The first key's secret is the only one in them."""
        settings = self.settings
        lines = [f"base URL   {self.base_url}"] if settings.workers else []
        if settings.record and not settings.workers:
            lines.append("recorder   runs")
        if settings.keys and settings.workers:
            lines.append(f"keys       {', '.join(each.name for each in settings.keys)}")
        lines += self._first_lines()
        if settings.admin:
            lines.append(f"admin API  {self.admin_url}   (docs: {self.admin_url}/docs)")
        return "\n".join(lines)

    def _first_lines(self) -> list[str]:
        if self.first is None:
            return []
        secret = self.first.secret
        if not secret:
            new = f"comptroller key rotate {DEMO_KEY_ID}"
            return [
                f"key        {DEMO_KEY_ID} has a secret that is not kept here; a new one: {new}"
            ]
        budget = f"${DEMO_BUDGET} to begin with"
        return [f"key        {secret}   (budget: {budget})", f"try it     {self._curl(secret)}"]

    def _curl(self, secret: str) -> str:
        message = {"role": "user", "content": "hello"}
        body = json.dumps({"model": self.settings.model_to_try, "messages": [message]})
        headers = f"-H 'Authorization: Bearer {secret}' -H 'Content-Type: application/json'"
        return f"curl {self.base_url}/chat/completions {headers} -d {shlex.quote(body)}"


def address(host: str, port: int) -> str:
    """How to reach from this machine what listens there."""
    shown = _ANY.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}"
