"""YAML whose every value knows its file and line, so that a mistake can be shown where it was made.

Belongs here: parsing text into located values, `${VARIABLE}` replacement, problems with a place. Does not
belong here: what the values mean (`settings.py`).

Scalars follow YAML 1.2, not 1.1: `Yes`, `No`, `on` stay text, `0012` keeps its zeros, `12:30` is no
number and a date stays text. A mapping file is full of such values and none may change silently.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

TEXT_FIELDS = frozenset({"missing", "value", "map", "default", "rows", "names"})
"""Fields whose scalars are data: they keep their spelling (`1.0`, `007`, `true`)."""

_NULL = re.compile(r"|~|null|Null|NULL")
_BOOLEAN = re.compile(r"true|True|TRUE|false|False|FALSE")
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+)([eE][-+]?[0-9]+)?")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]")
_VARIABLE = re.compile(r"\$(\$)?\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(:-(?P<default>[^}]*))?\}")


@dataclass(frozen=True)
class Place:
    """A line of a file."""

    file: str
    line: int


@dataclass(frozen=True)
class Problem:
    """Something wrong in a configuration file.

    Attributes:
        place: Where.
        field: Dotted path of the setting; empty for the file as a whole.
        text: What is wrong and what is allowed; holds no secret.
    """

    place: Place
    field: str
    text: str

    def __str__(self) -> str:
        """`<file>:<line>: <dotted.field>: <text>`."""
        field = f"{self.field}: " if self.field else ""
        return f"{self.place.file}:{self.place.line}: {field}{self.text}"


class LocatedDict(dict[str, Any]):
    """A mapping that knows its place and the places of its keys."""

    def __init__(self, place: Place, items: Mapping[str, Any] | None = None) -> None:
        """Start with the items of another mapping, whose key places are taken over if it has any."""
        super().__init__(items or {})
        self.place = place
        self.places: dict[str, Place] = dict(items.places) if isinstance(items, LocatedDict) else {}

    def put(self, key: str, value: object, place: Place) -> None:
        """Set a value together with its place."""
        self[key] = value
        self.places[key] = place


class LocatedList(list[Any]):
    """A sequence that knows its place and the places of its items."""

    def __init__(self, place: Place) -> None:
        """Start empty."""
        super().__init__()
        self.place = place
        self.places: list[Place] = []

    def put(self, value: object, place: Place) -> None:
        """Add an item together with its place."""
        self.append(value)
        self.places.append(place)


class SecretText(str):
    """A text with replaced `${VARIABLES}`; errors show `raw`, the text before replacement."""

    raw: str

    def __new__(cls, text: str, raw: str) -> SecretText:
        """Keep both texts."""
        instance = super().__new__(cls, text)
        instance.raw = raw
        return instance

    def __repr__(self) -> str:
        """As it was written."""
        return repr(self.raw)


def read(path: Path, variables: Mapping[str, str], problems: list[Problem]) -> LocatedDict:
    """Read a YAML file whose top level is a mapping.

    Args:
        path: The file.
        variables: What `${NAME}` may refer to.
        problems: Takes what is wrong; the result is then empty or partial.
    """
    place = Place(str(path), 1)
    try:
        text = path.read_text(encoding="utf-8-sig")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else "cannot be read"
        problems.append(Problem(place, "", f"{reason}; give the path of your configuration in CEM_CONFIG"))
        return LocatedDict(place)
    except UnicodeDecodeError as error:
        problems.append(Problem(place, "", f"not UTF-8 (byte {error.start}); save the file as UTF-8"))
        return LocatedDict(place)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        text = f"not valid YAML: {error.problem or error.context}"
        if error.context == "while scanning an alias":
            text += "; a text that begins with * or & needs quotes"
        problems.append(Problem(Place(str(path), line), "", text))
        return LocatedDict(place)
    except yaml.YAMLError as error:
        problems.append(Problem(place, "", f"not valid YAML: {error}"))
        return LocatedDict(place)
    if node is None:
        return LocatedDict(place)
    built = _Builder(str(path), variables, problems).build(node, "", as_text=False)
    if not isinstance(built, LocatedDict):
        problems.append(Problem(place, "", "the top level must be a mapping of settings"))
        return LocatedDict(place)
    return built


class _Builder:
    """Turns the nodes of one file into located values."""

    def __init__(self, file: str, variables: Mapping[str, str], problems: list[Problem]) -> None:
        self._file = file
        self._variables = variables
        self._problems = problems

    def build(self, node: yaml.Node, field: str, *, as_text: bool) -> object:
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, field, as_text=as_text)
        if isinstance(node, yaml.SequenceNode):
            items = LocatedList(self._place(node))
            for position, item in enumerate(node.value):
                items.put(self.build(item, f"{field}[{position}]", as_text=as_text), self._place(item))
            return items
        return self._scalar(node, field, as_text=as_text)

    def _mapping(self, node: yaml.MappingNode, field: str, *, as_text: bool) -> LocatedDict:
        built = LocatedDict(self._place(node))
        for key_node, value_node in self._pairs(node, field):
            key, place = str(key_node.value), self._place(key_node)
            path = f"{field}.{key}" if field else key
            if key in built:
                text = f"given twice, first in line {built.places[key].line}"
                self._problems.append(Problem(place, path, text))
                continue
            built.put(key, self.build(value_node, path, as_text=as_text or key in TEXT_FIELDS), place)
        return built

    def _pairs(self, node: yaml.MappingNode, field: str) -> Iterator[tuple[yaml.Node, yaml.Node]]:
        """The pairs of a mapping; what `<<` brings comes only where the mapping itself says nothing."""
        own = {key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._problems.append(Problem(self._place(key), field, "a key must be a plain text"))
            elif key.value == "<<" and isinstance(value, yaml.MappingNode):
                yield from ((k, v) for k, v in self._pairs(value, field) if k.value not in own)
            else:
                yield key, value

    def _scalar(self, node: yaml.Node, field: str, *, as_text: bool) -> object:
        text = str(node.value)
        is_plain = isinstance(node, yaml.ScalarNode) and node.style is None
        if is_plain and _NULL.fullmatch(text):
            return None
        if not (is_plain and not as_text):
            return self._replaced(text, node, field)
        if _BOOLEAN.fullmatch(text):
            return text.lower() == "true"
        if _INTEGER.fullmatch(text):
            return int(text)
        if _FLOAT.fullmatch(text) and not _LEADING_ZERO.match(text):
            return float(text)
        return self._replaced(text, node, field)

    def _replaced(self, text: str, node: yaml.Node, field: str) -> str:
        def value_of(match: re.Match[str]) -> str:
            if match.group(1):  # $${NAME} is the text ${NAME}
                return match.group(0)[1:]
            name, default = match.group("name"), match.group("default")
            value = self._variables.get(name) or default
            if value is None:
                hint = f"set it, or give a default with ${{{name}:-default}}"
                text = f"environment variable {name} is not set; {hint}"
                self._problems.append(Problem(self._place(node), field, text))
                return ""
            return value

        replaced = _VARIABLE.sub(value_of, text)
        return text if replaced == text else SecretText(replaced, raw=text)

    def _place(self, node: yaml.Node) -> Place:
        return Place(self._file, node.start_mark.line + 1)
