"""comptroller.yaml as a tree of values that know their line, so that every complaint can name it.

Plain `yaml.safe_load` forgets where things stood, and takes the last of two equal keys without a
word. Here the file is composed and read field by field, numbers stay decimal, and whatever two
readers of YAML could understand differently (aliases, tags, octal and sexagesimal numbers) is
refused. Complaints never repeat a value: it could be a secret.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

import yaml

FILE_BYTES_MAX = 1024 * 1024
DEPTH_MAX = 32
NUMBER_CHARS_MAX = 64
TEXT_CHARS_MAX = 4096
NAME_CHARS_SHOWN = 64

_ENVIRONMENT = "os.environ/"  # LiteLLM's way to name a variable
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_HEADER_TEXT = re.compile(r"[\x21-\x7e]+")
_TAG_PREFIX = "tag:yaml.org,2002:"
_TEXT_TAGS = ("str", "timestamp", "value")
_BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
# What YAML 1.1 and 1.2 read alike: 010 and 1:30 are other numbers in one than in the other.
_INTEGER = re.compile(r"[+-]?(0|[1-9][0-9_]*)")
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?")


class ConfigInvalid(ValueError):
    """The configuration cannot be used; the message names file, line and what to write instead."""

    def __init__(self, message: str, *, file: str = "", line: int = 0) -> None:
        place = f"{file}:{line}" if line else file
        super().__init__(f"{place}: {message}" if place else message)


class DecimalText(str):
    """A number with a point or an exponent, as it was written: floats never touch money."""

    __slots__ = ()


Scalar = str | int | bool | None


@dataclass(frozen=True, slots=True)
class Value:
    """A value, the field that it belongs to, and its line from 1 (a field's: that of its name)."""

    name: str
    file: str
    line: int
    content: "Scalar | dict[str, Value] | list[Value]" = field(repr=False)

    def error(self, message: str) -> ConfigInvalid:
        """A complaint about this value."""
        return ConfigInvalid(message, file=self.file, line=self.line)

    def plain(self) -> object:
        """As plain Python values; a number that is not whole is its text."""
        if isinstance(self.content, dict):
            return {name: value.plain() for name, value in self.content.items()}
        if isinstance(self.content, list):
            return [value.plain() for value in self.content]
        return self.content

    def items(self) -> "list[Value]":
        """The entries of a list."""
        if not isinstance(self.content, list):
            raise self.error(f"{self.name}: expected a list")
        return self.content

    def fields(self) -> "dict[str, Value]":
        """The fields of a mapping."""
        if not isinstance(self.content, dict):
            raise self.error(f"{self.name}: expected a mapping of names to values")
        return self.content

    def known_fields(
        self, known: Collection[str], what: str, unsupported: Collection[str] = ()
    ) -> "dict[str, Value]":
        """The fields of a mapping that may have only these. A null one is there: `models:` with
        nothing behind it must not become a key for all models."""
        for name, value in self.fields().items():
            if name in unsupported:
                raise value.error(f"{name} is not supported by this version: remove it")
            if name not in known:
                hint = _nearest(name, sorted(known))
                raise value.error(f"unknown field {shown(name)} in {what}{hint}")
        return self.fields()

    def text(self, what: str) -> str:
        """A string of printable characters, at least one."""
        if not isinstance(self.content, str) or isinstance(self.content, DecimalText):
            raise self.error(f"{what} must be a text: write it in quotes")
        if not 1 <= len(self.content) <= TEXT_CHARS_MAX or not self.content.isprintable():
            raise self.error(f"{what} must have 1 to {TEXT_CHARS_MAX} printable characters")
        return self.content

    def texts(self, what: str) -> tuple[str, ...]:
        """A list of strings."""
        return tuple(each.text(f"each entry of {what}") for each in self.items())

    def variables(self) -> "Iterator[str]":
        """Names of the variables that are named in it as `os.environ/NAME`, however deep."""
        content = self.content
        if isinstance(content, str) and content.startswith(_ENVIRONMENT):
            yield content.removeprefix(_ENVIRONMENT)
        if isinstance(content, dict):
            content = list(content.values())
        for each in content if isinstance(content, list) else ():
            yield from each.variables()

    def resolved(self, what: str, environment: Mapping[str, str]) -> str:
        """A string, or what the variable holds that it names as `os.environ/NAME`."""
        text = self.text(what)
        if not text.startswith(_ENVIRONMENT):
            return text
        variable = text.removeprefix(_ENVIRONMENT)
        if not _VARIABLE.fullmatch(variable):
            raise self.error(f"{what}: what follows {_ENVIRONMENT} is no name of a variable")
        if not environment.get(variable):
            raise self.error(f"{what} names the environment variable {variable}, which is not set")
        return environment[variable]

    def credential(self, what: str, environment: Mapping[str, str]) -> str:
        """The same, where it fits into a header (`Authorization: Bearer <it>`)."""
        text = self.resolved(what, environment)
        if not _HEADER_TEXT.fullmatch(text):
            raise self.error(f"{what} must be ASCII without spaces or line ends")
        return text


def shown(name: str) -> str:
    """A name in a complaint: quoted, of bounded length."""
    return repr(name if len(name) <= NAME_CHARS_SHOWN else name[:NAME_CHARS_SHOWN] + "...")


def _nearest(name: str, known: list[str]) -> str:
    """`; did you mean x?`, or what there is."""
    close = get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"


@dataclass(frozen=True, slots=True)
class Written:
    """A configuration as it stood in its file at one moment: whoever has this reads what others
    read who have it, whatever becomes of the file."""

    file: str
    text: str = field(repr=False)

    def __str__(self) -> str:
        return self.file


def read_written(path: Path) -> Written:
    """What the file says now. Raises ConfigInvalid."""
    return Written(str(path), _read_text(path))


def document_of(written: Written) -> Value | None:
    """Its root, None for an empty file. Raises ConfigInvalid."""
    file = written.file
    root = _composed(file, written.text)
    return None if root is None else _Tree(file).value("the file", root.start_mark.line + 1, root)


def read_document(path: Path) -> Value | None:
    """The file's root, None for an empty file. Raises ConfigInvalid."""
    return document_of(read_written(path))


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            content = stream.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigInvalid(f"cannot be read: {error.strerror}", file=str(path)) from None
    if len(content) > FILE_BYTES_MAX:
        raise ConfigInvalid(f"larger than {FILE_BYTES_MAX} bytes", file=str(path))
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigInvalid("not UTF-8: save it as UTF-8", file=str(path), line=line) from None


class _Loader(yaml.SafeLoader):
    """Composes without what makes a small file large or slow: aliases, nesting without end."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]  # so in the stubs
        problem = ""
        if getattr(event, "anchor", None) is not None:
            problem = "anchors and aliases are not supported: write the value out"
        elif self._depth == DEPTH_MAX:
            problem = f"nested deeper than {DEPTH_MAX} levels"
        if problem:
            raise yaml.composer.ComposerError(None, None, problem, event.start_mark)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _composed(file: str, text: str) -> yaml.Node | None:
    line = 1
    try:
        loader = _Loader(text)
        try:
            return loader.get_single_node()
        finally:
            line = loader.line + 1
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else line
        reason = error.problem or "a syntax error"
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        reason = "a control character: write it as an escape in double quotes"
    except ValueError:  # PyYAML's scanner, on escapes beyond Unicode
        reason = "an escape or a number out of range"
    raise ConfigInvalid(f"not valid YAML: {reason}", file=file, line=line) from None


@dataclass(frozen=True, slots=True)
class _Tree:
    """Turns composed nodes of one file into values."""

    file: str

    def value(self, name: str, line: int, node: yaml.Node) -> Value:
        """The value of field `name`."""
        content: Scalar | dict[str, Value] | list[Value]
        kind = node.tag.removeprefix(_TAG_PREFIX)
        if isinstance(node, yaml.MappingNode) and kind == "map":
            content = self._fields(name, node)
        elif isinstance(node, yaml.SequenceNode) and kind == "seq":
            entry = f"an entry of {name}"
            content = [self.value(entry, each.start_mark.line + 1, each) for each in node.value]
        elif isinstance(node, yaml.ScalarNode):
            content = self._scalar(name, line, kind, node.value)
        else:
            raise ConfigInvalid(f"{name} has a YAML tag: remove it", file=self.file, line=line)
        return Value(name, self.file, line, content)

    def _fields(self, where: str, node: yaml.MappingNode) -> dict[str, Value]:
        fields: dict[str, Value] = {}
        for key, each in node.value:
            line = key.start_mark.line + 1
            name = self._name(where, line, key)
            if name in fields:
                raise ConfigInvalid(
                    f"{name[:NAME_CHARS_SHOWN]} is there twice; the first is in line "
                    f"{fields[name].line}",
                    file=self.file,
                    line=line,
                )
            fields[name] = self.value(name, line, each)
        return fields

    def _name(self, where: str, line: int, key: yaml.Node) -> str:
        kind = key.tag.removeprefix(_TAG_PREFIX)
        if isinstance(key, yaml.ScalarNode) and kind in _TEXT_TAGS:
            name = str(key.value)
            if name and name.isprintable():
                return name
        reason = "<< is not read: write the fields out" if kind == "merge" else "write it in quotes"
        message = f"expected a name in {where}, of printable text: {reason}"
        raise ConfigInvalid(message, file=self.file, line=line)

    def _scalar(self, name: str, line: int, kind: str, text: str) -> Scalar:
        digits = text.replace("_", "") if len(text) <= NUMBER_CHARS_MAX else ""
        if kind in _TEXT_TAGS:
            return text
        if kind == "null":
            return None
        if kind == "bool" and text.lower() in _BOOLEANS:
            return _BOOLEANS[text.lower()]
        if kind == "int" and digits and _INTEGER.fullmatch(text):
            return int(digits)
        if kind == "float" and _DECIMAL.fullmatch(digits):
            return DecimalText(digits)
        raise ConfigInvalid(
            f"{name}: readers of YAML differ on this value or tag; write a number in plain decimal "
            "digits and a text in quotes",
            file=self.file,
            line=line,
        )
