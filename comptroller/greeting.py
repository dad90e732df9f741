"""What `comptroller up` prints when all parts serve: where, with which key, and what to try."""

import json
import shlex
from dataclasses import dataclass

from comptroller.settings import Settings

DEMO_SCOPE = "demo"
DEMO_KEY = "first"
DEMO_BUDGET = "1.00"
_ANY = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104  # how to reach it from here


@dataclass(frozen=True, slots=True)
class Greeting:
    """The ports are those that were bound, where a setting says 0."""

    settings: Settings
    port: int
    admin_port: int

    @property
    def base_url(self) -> str:
        """What SDKs are pointed at."""
        return f"{_address(self.settings.host, self.port)}/v1"

    @property
    def admin_url(self) -> str:
        """Of the admin API."""
        return _address(self.settings.admin_host, self.admin_port)

    def text(self) -> str:
        """Lines for a person. The first key's secret is the only one in them."""
        settings = self.settings
        lines = [f"base URL   {self.base_url}"] if settings.workers else []
        key = settings.keys[0]
        if key.name == DEMO_KEY and key.scope == DEMO_SCOPE:
            lines += [f"key        {key.secret}   (budget: ${DEMO_BUDGET})"]
            lines += [f"try it     {self._curl(key.secret)}"] if settings.workers else []
        else:
            lines.append(f"keys       {', '.join(each.name for each in settings.keys)}")
        if settings.admin:
            lines.append(f"admin API  {self.admin_url}   (docs: {self.admin_url}/docs)")
        return "\n".join(lines)

    def _curl(self, secret: str) -> str:
        message = {"role": "user", "content": "hello"}
        body = json.dumps({"model": self.settings.models[0].name, "messages": [message]})
        headers = f"-H 'Authorization: Bearer {secret}' -H 'Content-Type: application/json'"
        return f"curl {self.base_url}/chat/completions {headers} -d {shlex.quote(body)}"


def _address(host: str, port: int) -> str:
    shown = _ANY.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}"
