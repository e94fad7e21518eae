"""Whether the mappings of cem.yml fit the contract: entities, columns and what each column mapping may say.

Works on located values, before anything is typed, so that every mistake is found at once and shown with
its line. Does not look at the sources themselves: that is `check.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from difflib import get_close_matches
from typing import Any

from orchestration.located_yaml import LocatedDict, LocatedList, Place, Problem
from orchestration.sources.contract import Column, Entity, load_contract
from orchestration.sources.values import EPOCHS, FORMAT

ORIGINS = ("column", "value", "expression")
"""A column mapping says exactly one of these."""


def allowed_names(wrong: str, allowed: Iterable[str]) -> str:
    """`allowed: …`, the closest name first and the rest in their order."""
    names = list(allowed)
    close = closest(wrong, names)
    hint = f"did you mean {close}? " if close else ""
    return f"{hint}allowed: {', '.join(names)}"


def closest(wrong: str, names: Iterable[str]) -> str | None:
    """The name that was probably meant, whatever its case; None when none is close."""
    folded = {name.casefold(): name for name in names}
    close = get_close_matches(wrong.casefold(), folded, n=1, cutoff=0.6)
    return folded[close[0]] if close else None


def mapping_problems(mapping: LocatedDict, field: str, sources: Collection[str]) -> Iterator[Problem]:
    """What is wrong with one entity mapping.

    Args:
        mapping: Normalised located values: `entity`, `columns` (each a mapping) and more.
        field: Dotted path of the mapping.
        sources: Names of all sources, which references may point to.
    """
    contract = load_contract()
    name = mapping.get("entity")
    if not isinstance(name, str):
        return  # the models report a missing or misshapen name
    if name not in contract:
        place = mapping.places.get("entity", mapping.place)
        yield Problem(place, f"{field}.entity", f"unknown entity '{name}'; {allowed_names(name, contract)}")
        return
    entity, columns = contract[name], mapping.get("columns")
    if not isinstance(columns, LocatedDict):
        columns = LocatedDict(mapping.place)
    yield from _missing_columns(entity, columns, field, mapping.places.get("columns", mapping.place))
    for column_name, given in columns.items():
        place = columns.places.get(column_name, columns.place)
        path = f"{field}.columns.{column_name}"
        if column_name not in entity.columns:
            hint = allowed_names(column_name, entity.columns)
            yield Problem(place, path, f"{name} has no column '{column_name}'; {hint}")
        elif isinstance(given, LocatedDict):
            yield from _column_problems(entity.columns[column_name], given, path, place, sources)


def _missing_columns(entity: Entity, columns: LocatedDict, field: str, place: Place) -> Iterator[Problem]:
    missing = [name for name in entity.required if name not in columns]
    if missing:
        text = f"{entity.name} needs {', '.join(missing)}; map each to a column of the source"
        yield Problem(place, f"{field}.columns", text)


def _column_problems(
    column: Column, given: LocatedDict, path: str, place: Place, sources: Collection[str]
) -> Iterator[Problem]:
    origins = [origin for origin in ORIGINS if given.get(origin) is not None]
    if len(origins) != 1:
        said = " and ".join(origins) or "none"
        yield Problem(place, path, f"says {said}; allowed: exactly one of {', '.join(ORIGINS)}")
    if "default" in given and "map" not in given:
        text = "is for texts that are not in `map`; give `map` too"
        yield Problem(given.places["default"], f"{path}.default", text)
    if "source" in given:
        yield from _source_problems(column, given, path, sources)
    yield from _value_problems(column, given, path)
    if given.get("format") is not None and column.type not in {"timestamp", "date"}:
        text = f"is for timestamp and date columns; {column.name} is {column.type}"
        yield Problem(given.places["format"], f"{path}.format", text)
    yield from _format_problems(given, path)


def _format_problems(given: LocatedDict, path: str) -> Iterator[Problem]:
    """Formats that the engine would refuse, or that say nothing of how a time is written."""
    formats, place = given.get("format"), given.places.get("format", given.place)
    for each in formats if isinstance(formats, LocatedList) else (formats,):
        if isinstance(each, str) and each not in EPOCHS and not FORMAT.fullmatch(each):
            allowed = f"allowed: a form of strptime such as %d/%m/%Y %H:%M, or {', '.join(EPOCHS)}"
            yield Problem(place, f"{path}.format", f"'{each}' is no format of times; {allowed}")


def _source_problems(column: Column, given: LocatedDict, path: str, sources: Collection[str]) -> Iterator[Problem]:
    source, place = given["source"], given.places["source"]
    if column.references is None:
        yield Problem(place, f"{path}.source", f"{column.name} refers to no entity, so it has no source")
    elif source not in sources:
        hint = allowed_names(str(source), sorted(sources))
        yield Problem(place, f"{path}.source", f"unknown source '{source}'; {hint}")


def _value_problems(column: Column, given: LocatedDict, path: str) -> Iterator[Problem]:
    """Words a mapping would write that the contract does not know."""
    if not column.values:
        return
    for name, place, word in _written_words(given):
        if word is not None and word not in column.values:
            hint = allowed_names(str(word), column.values)
            yield Problem(place, f"{path}.{name}", f"'{word}' is no value of {column.name}; {hint}")


def _written_words(given: LocatedDict) -> Iterator[tuple[str, Place, Any]]:
    for name in ("value", "default"):
        # A constant may still go through `map`, so only the end of the way counts.
        if name in given and not (name == "value" and "map" in given):
            yield name, given.places.get(name, given.place), given[name]
    words = given.get("map")
    if isinstance(words, LocatedDict):
        for key, word in words.items():
            if not isinstance(word, LocatedDict | LocatedList):
                yield f"map.{key}", words.places.get(key, words.place), word
