"""A YAML file whose every value knows its line, so that every complaint can name it.

Plain `yaml.safe_load` forgets where things stood and takes the last of two equal keys without a
word. Here the file is composed into nodes and read field by field. Anchors and aliases are refused:
they are how a small file becomes a huge one.
"""

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

FILE_BYTES_MAX = 1024 * 1024


class ConfigInvalid(ValueError):
    """The configuration cannot be used; the message names file, line and what to write instead."""


class Value:
    """One node of the file."""

    __slots__ = ("_file", "node")

    def __init__(self, file: str, node: yaml.Node) -> None:
        self._file = file
        self.node = node

    @property
    def line(self) -> int:
        """Counted from 1."""
        return int(self.node.start_mark.line) + 1

    def error(self, message: str) -> ConfigInvalid:
        """A complaint about this value."""
        return ConfigInvalid(f"{self._file}:{self.line}: {message}")

    def plain(self) -> Any:  # noqa: ANN401  # whatever YAML says it is
        """As plain Python values; duplicate keys inside are errors."""
        if isinstance(self.node, yaml.MappingNode):
            return {name: value.plain() for name, value in self.fields().items()}
        if isinstance(self.node, yaml.SequenceNode):
            return [value.plain() for value in self.items()]
        # SafeConstructor makes strings, numbers, dates: nothing that runs.
        constructor = yaml.constructor.SafeConstructor()
        try:
            return constructor.construct_object(self.node)
        except (yaml.YAMLError, ValueError) as error:
            raise self.error(f"cannot be read: {error}") from None

    def items(self) -> "list[Value]":
        """The entries of a list."""
        if not isinstance(self.node, yaml.SequenceNode):
            raise self.error("expected a list")
        return [Value(self._file, each) for each in self.node.value]

    def fields(self) -> "dict[str, Value]":
        """The fields of a mapping."""
        if not isinstance(self.node, yaml.MappingNode):
            raise self.error("expected a mapping of names to values")
        fields: dict[str, Value] = {}
        for key, node in self.node.value:
            name = str(key.value) if isinstance(key, yaml.ScalarNode) else ""
            if not name:
                raise Value(self._file, key).error("expected a name")
            if name in fields:
                raise Value(self._file, key).error(
                    f"{name} is there twice; the first is in line {fields[name].line}"
                )
            fields[name] = Value(self._file, node)
        return fields

    def known_fields(self, known: Iterable[str], what: str) -> "dict[str, Value]":
        """The fields of a mapping that may have only these."""
        fields = self.fields()
        names = sorted(known)
        for name, value in fields.items():
            if name not in names:
                raise value.error(f"unknown field {name!r} in {what}{nearest(name, names)}")
        return fields

    def text(self, what: str) -> str:
        """A non-empty string."""
        value = self.plain()
        if not isinstance(value, str) or not value:
            raise self.error(f"{what} must be a text")
        return value

    def texts(self, what: str) -> tuple[str, ...]:
        """A list of strings."""
        return tuple(each.text(f"each entry of {what}") for each in self.items())


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean x?`, or what there is."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(names)}"


def read_document(path: Path) -> Value | None:
    """The file's root, None for an empty file. Raises ConfigInvalid."""
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise ConfigInvalid(f"{path}: larger than {FILE_BYTES_MAX} bytes")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigInvalid(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigInvalid(f"{path}: not UTF-8") from None
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                line = event.start_mark.line + 1 if event.start_mark else 1
                raise ConfigInvalid(f"{path}:{line}: anchors and aliases are not supported")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigInvalid(f"{path}:{line}: not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigInvalid(f"{path}: not valid YAML: {error}") from None
    return None if node is None else Value(str(path), node)
