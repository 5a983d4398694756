"""YAML that people wrote, read so that nothing in it can surprise: no code, no bomb, no lost key.

Every refusal is one line that begins with file and line.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from flowpwm.checks import ConfigError, did_you_mean
from flowpwm.scalars import parse_scalar

MAX_BYTES = 1 << 20
MAX_DEPTH = 20
MAX_ALIASES = 100
MAX_VALUES = 10_000  # with aliases written out: a hundred of them can stand for billions
_LOADER: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
Keys = tuple[str, ...]


class YamlError(ConfigError):
    """YAML that is refused: the name of its file, the line where there is one, and the problem."""

    def __init__(self, name: object, line: int | None, problem: str) -> None:
        super().__init__(f"{name}: {problem}" if line is None else f"{name}:{line}: {problem}")
        self.line = line
        self.problem = problem


@dataclass(frozen=True)
class Document:
    """The mapping in a file, and the line of each of its keys, by the keys that lead to it."""

    path: Path
    text: str
    values: dict[str, Any]
    lines: Mapping[Keys, int]

    def line(self, keys: Keys) -> int:
        """The line of a key, or of the nearest above it that is there."""
        found = (
            self.lines[keys[:end]] for end in range(len(keys), 0, -1) if keys[:end] in self.lines
        )
        return next(found, 1)


def read_mapping(path: Path, *, yaml_1_1: bool = False) -> Document:
    """Read the mapping that a file holds. Raises YamlError.

    Unquoted words mean what they mean on a command line; with `yaml_1_1`, what they mean to other
    programs that will read the file.
    """
    text = _read(path)
    node = _compose(text, str(path))
    if node is None:
        raise YamlError(path, None, "is empty; expected lines such as 'key: value'")
    if not isinstance(node, yaml.MappingNode):
        kind = "a list" if isinstance(node, yaml.SequenceNode) else "a single value"
        problem = f"holds {kind}; expected a mapping, lines such as 'key: value'"
        raise YamlError(path, _line(node), problem)
    reader = _Reader(str(path), yaml_1_1)
    return Document(path, text, reader.value(node, ()), reader.lines)


def read_value(text: str, name: str) -> Any:
    """The value that `text` is, such as `3` or `[a, b]`. Raises YamlError."""
    node = _compose(text, name)
    return None if node is None else _Reader(name, False).value(node, ())


def _read(path: Path) -> str:
    try:
        kind = path.stat().st_mode
        if not stat.S_ISREG(kind):  # a pipe might never end
            what = "a folder" if stat.S_ISDIR(kind) else "not a regular file"
            raise YamlError(path, None, f"is {what}; expected a YAML file")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        beside = [p.name for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        raise YamlError(path, None, f"no such file.{did_you_mean(path.name, beside)}") from error
    except OSError as error:
        raise YamlError(path, None, f"cannot be read ({error.strerror})") from error
    if len(data) > MAX_BYTES:
        raise YamlError(path, None, "is larger than 1 MiB; expected a file of settings")
    if data.startswith(_UTF16):
        raise YamlError(path, 1, "is UTF-16; save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise YamlError(path, line, f"is not UTF-8 (byte 0x{data[error.start]:02x})") from error


def _compose(text: str, name: str) -> yaml.Node | None:
    """The tree of nodes, once its events have shown that it is small and plain."""
    try:
        _check_events(yaml.parse(text, Loader=_LOADER), name)
        return yaml.compose(text, Loader=_LOADER)
    except UnicodeEncodeError as error:  # bytes on a command line that are no text
        raise YamlError(name, None, f"is not text ({error.reason})") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        hint = "; indent with blanks, not with tabs" if "\\t" in str(error.problem) else ""
        problem = f"is not YAML ({error.problem or error.context}{hint})"
        raise YamlError(name, line, problem) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise YamlError(name, line, f"is not YAML ({error.reason})") from error
    except yaml.YAMLError as error:
        raise YamlError(name, None, f"is not YAML ({' '.join(str(error).split())})") from error


def _check_events(events: Iterator[yaml.Event], name: str) -> None:
    depth = aliases = values = 0
    for event in events:
        line = event.start_mark.line + 1
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.AliasEvent):
            aliases += 1
        values += isinstance(event, yaml.NodeEvent)
        tag = getattr(event, "tag", None)
        if tag and tag != "!":  # "!" alone: quoted
            shown = tag.replace("tag:yaml.org,2002:", "!!")
            raise YamlError(name, line, f"has the tag {shown}; only plain values are read")
        if depth > MAX_DEPTH:
            raise YamlError(name, line, f"is more than {MAX_DEPTH} levels deep")
        if aliases > MAX_ALIASES:
            raise YamlError(name, line, f"has more than {MAX_ALIASES} aliases")
        if values > MAX_VALUES:
            raise YamlError(name, line, f"has more than {MAX_VALUES} values")


@dataclass
class _Reader:
    """Plain values from nodes, with every key's line."""

    name: str
    yaml_1_1: bool
    other: yaml.SafeLoader = field(default_factory=lambda: yaml.SafeLoader(""))
    lines: dict[Keys, int] = field(default_factory=dict)
    count: int = 0

    def value(self, node: yaml.Node, keys: Keys) -> Any:
        """Raises YamlError where aliases make it large, endless or too deep."""
        self.count += 1
        if self.count > MAX_VALUES or len(keys) > MAX_DEPTH:
            limit = f"{MAX_VALUES} values, or {MAX_DEPTH} levels"
            raise self._error(node, f"is more than {limit}, with its aliases written out")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, keys)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*keys, str(i))) for i, item in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)
        return self._scalar(node)

    def _mapping(self, node: yaml.MappingNode, keys: Keys) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        own: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise self._error(key_node, "a key must be a word, got a list or a mapping")
            key = str(key_node.value)
            if key == "<<" and not key_node.style:
                merged = self._merged(value_node, keys) | merged
                continue
            if key in own:
                first = self.lines[(*keys, key)]
                raise self._error(key_node, f"{key!r} is given twice, first in line {first}")
            self.lines[(*keys, key)] = _line(key_node)
            own[key] = self.value(value_node, (*keys, key))
        return merged | own

    def _merged(self, node: yaml.Node, keys: Keys) -> dict[str, Any]:
        """What `<<: *alias` stands for; of several the first wins."""
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        found: dict[str, Any] = {}
        for source in sources:
            # One level more than the keys say, so that a mapping merged into itself has an end.
            values = self.value(source, (*keys, "<<"))
            if not isinstance(values, dict):
                raise self._error(node, "<< must be followed by a mapping")
            found = values | found
        return found

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        try:
            if self.yaml_1_1:
                return self.other.construct_object(node)
            if node.style:  # quoted, or a block of text
                return node.value
            return None if node.value in ("", "~") else parse_scalar(node.value)
        except (ValueError, yaml.YAMLError) as error:
            raise self._error(node, str(error)) from error

    def _error(self, node: yaml.Node, problem: str) -> YamlError:
        return YamlError(self.name, _line(node), problem)


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1
