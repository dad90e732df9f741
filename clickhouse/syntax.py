"""The tree that `EXPLAIN AST` prints, read back strictly. Pure.

Each line is one node, a space deeper than its parent, with the number of its children at the end.
A name that a user chose can hold anything, so the count and the depth of every line must agree:
what does not add up is refused, not guessed.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_LINE = re.compile(r"^( *)(\S.*?)(?: {1,3}\(children (\d+)\))?$")
_KIND = re.compile(r"[A-Za-z_:]+")
_ALIAS = re.compile(r" \(alias .*\)$")
_DEPTH_MAX = 600


class NotATree(ValueError):
    """The lines do not add up."""


@dataclass(frozen=True, slots=True)
class Node:
    """`kind` is the class (`Function`), `detail` what follows it without the alias (`count`)."""

    kind: str
    detail: str
    children: tuple["Node", ...]

    def walk(self) -> Iterator["Node"]:
        """This node and all below, parents first."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            yield node
            waiting.extend(reversed(node.children))


def parse_tree(text: str) -> Node:
    """The root. Raises NotATree."""
    lines = [line for line in text.split("\n") if line.strip()]
    root, following = _node(lines, 0, 0)
    if following != len(lines):
        raise NotATree("lines are left over")
    return root


def _node(lines: list[str], index: int, depth: int) -> tuple[Node, int]:
    found = _LINE.match(lines[index]) if index < len(lines) and depth < _DEPTH_MAX else None
    if found is None or len(found[1]) != depth:
        raise NotATree(f"line {index} is not a node of depth {depth}")
    kind = _KIND.match(found[2])
    if kind is None:
        raise NotATree(f"line {index} names no class")
    children = []
    index += 1
    for _ in range(int(found[3] or 0)):
        child, index = _node(lines, index, depth + 1)
        children.append(child)
    detail = _ALIAS.sub("", found[2][kind.end() :]).strip()
    return Node(kind[0], detail, tuple(children)), index
