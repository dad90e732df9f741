"""Scopes as the tree that they are: each under the nearest scope above it that is shown, too."""

import sys
from collections.abc import Iterable

from comptroller.commands.output import Column, Row


def scope_column(rows: Iterable[Row], title: str = "scope") -> Column:
    """A column of the rows' scopes: a tree on a terminal, whole paths where a program may read."""
    if not sys.stdout.isatty():
        return Column(title, lambda row: str(row["scope"]))
    labels = tree_labels(str(row["scope"]) for row in rows)
    return Column(title, lambda row: labels[str(row["scope"])])


def tree_labels(scopes: Iterable[str]) -> dict[str, str]:
    """Scope -> its name below the nearest one above it, indented; in the tree's order."""
    labels: dict[str, str] = {}
    above: list[str] = []
    for scope in sorted(set(scopes), key=lambda each: each.split("/")):
        while above and not scope.startswith(f"{above[-1]}/"):
            above.pop()
        name = scope.removeprefix(f"{above[-1]}/") if above else scope
        labels[scope] = "  " * len(above) + name
        above.append(scope)
    return labels
