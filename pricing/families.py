"""Whose model a name means, where tokenizers and pictures are concerned.

Routes name the same model in several ways: with its publisher in front (`openai/gpt-oss-120b`),
with a date behind (`gpt-4o-2024-08-06`), or tuned (`ft:gpt-4o-mini:acme::id`). Rules about tokens
hold for the model, so they are looked up by one name. Nothing is guessed: a name that is not in a
rule's own pattern, letter for letter, has no rule.
"""

import re

# Where a model's name is the operator's own invention, it says nothing about the model.
_OWN_NAMES = frozenset(("azure", "azure_ai", "demo"))
_DATED = re.compile(r"(.+?)-(?:[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{4})", re.ASCII)


def bare_name(provider: str, model: str) -> str:
    """The publisher's own name of a model, in lower case, without publisher, date and tuning; empty
    where the provider lets its customers choose the names.

    `openrouter`, `openai/gpt-4o-2024-08-06` is `gpt-4o`.
    """
    if provider.casefold() in _OWN_NAMES:
        return ""
    name = model.casefold()
    if name.startswith("ft:"):
        name = name.split(":")[1]
    name = name.rpartition("/")[2]
    dated = _DATED.fullmatch(name)
    return dated[1] if dated else name
