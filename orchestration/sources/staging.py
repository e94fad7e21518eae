"""The dbt files that follow from cem.yml: staging models, the unions of the contract entities, `setting()`.

Belongs here: what is written into `$CEM_HOME/dbt`. Does not belong here: the mapping itself (`mapping.py`)
and every model that is the same for all configurations (`dbt_project/`).

A file is written only when its content changes, so that dbt's partial parsing stays warm; files of sources
that are gone from the configuration are removed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from textwrap import indent
from typing import Any

import yaml

from orchestration.identity.state import INPUT
from orchestration.settings import EntityMapping, Settings, Source, Table
from orchestration.sources.contract import Entity, load_contract
from orchestration.sources.mapping import BOOKED, mapping_ctes, output_columns

MAPPED = tuple[Table, EntityMapping]

BOOKED_COLUMNS: Mapping[str, tuple[str, str]] = {
    "_table": ("varchar", "Table of the source that the row is from."),
    "_key": ("varchar", "Key of the row in that table."),
    "_row_hash": ("ubigint", "Hash of the row as sent."),
    "_cursor": ("varchar", "Cursor of the row, in a form that sorts; NULL where the table has none."),
    "_load_id": ("varchar", "Load that brought this version of the row."),
    "_loaded_at": ("timestamp", "When that load ran (UTC)."),
    "_deleted_at": ("timestamp", "When the row was found gone from its source (UTC); else NULL."),
    "_uncast": ("varchar", "Columns whose text could not be read, separated by commas; NULL when all could."),
}
"""Booked columns of the staging models: type and description."""

KEPT_IN_UNION = ("_table", "_key", "_load_id", "_loaded_at")
"""Booked columns of the unions: where a record is from, and which load brought it."""

ORDERING: Mapping[str, tuple[str, str]] = {
    "_order": ("varchar", "What the mapping orders the rows of a record by, in a form that sorts."),
    "_source_file": ("varchar", "File the row is from."),
    "_source_row": ("bigint", "Place of the row in that file."),
}
"""Columns of staging models of which several rows may make one record: type and description."""

WRITTEN = "Written from cem.yml."

QUOTED = "-- Names of the source are quoted, whatever they are:\n-- noqa: disable=RF06"
"""First lines of staging models."""


def write_dbt_inputs(settings: Settings) -> bool:
    """Bring `$CEM_HOME/dbt/models` and `$CEM_HOME/dbt/macros` up to date with the configuration.

    Returns:
        Whether any file was written or removed.
    """
    wanted = {settings.home / "dbt" / path: text for path, text in dbt_inputs(settings).items()}
    changed = False
    for path, text in wanted.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            changed = True
    for folder in (settings.dbt_models, settings.dbt_macros):
        changed = _remove_others(folder, wanted) or changed
    return changed


def _remove_others(folder: Path, wanted: Mapping[Path, str]) -> bool:
    others = [path for path in folder.rglob("*") if path.is_file() and path not in wanted]
    for path in others:
        path.unlink()
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    return bool(others)


def dbt_inputs(settings: Settings) -> dict[Path, str]:
    """Content of every generated file, by its path below `$CEM_HOME/dbt`."""
    files: dict[Path, str] = {}
    staged: dict[str, dict[str, list[MAPPED]]] = {name: {} for name in load_contract()}
    for source in settings.sources:
        folder = Path("models", "staging", source.name)
        files[folder / f"_{source.name}__sources.yml"] = _sources_yml(source)
        for name, mapped in _by_entity(source).items():
            entity = load_contract()[name]
            staged[name][source.name] = mapped
            model = staging_name(source.name, entity)
            files[folder / f"{model}.sql"] = staging_sql(source.name, entity, mapped)
            files[folder / f"{model}.yml"] = _staging_yml(source, entity, mapped)
    folder = Path("models", "intermediate", "unioned")
    for name, sources in staged.items():
        entity = load_contract()[name]
        files[folder / f"{union_name(entity)}.sql"] = union_sql(entity, sources)
        files[folder / f"{union_name(entity)}.yml"] = _union_yml(entity, list(sources))
    files[Path("macros", "setting.sql")] = _setting_macro(settings)
    files[Path("macros", "setting.yml")] = _setting_yml()
    return files


def staging_name(source: str, entity: Entity) -> str:
    """Name of the staging model of an entity of a source."""
    return f"stg_{source}__{entity.plural}"


def union_name(entity: Entity) -> str:
    """Name of the model that unites an entity of all sources."""
    return f"int_{entity.name}__unioned"


def _by_entity(source: Source) -> dict[str, list[MAPPED]]:
    mapped: dict[str, list[MAPPED]] = {}
    for table in source.tables:
        for mapping in table.entities:
            mapped.setdefault(mapping.entity, []).append((table, mapping))
    return mapped


# SQL


def staging_sql(source: str, entity: Entity, mapped: list[MAPPED]) -> str:
    """The staging model: all mappings of one entity in one source, one below the other, row by row.

    Where several rows may make one record (`one_per_key`), what tells which of them is the last stands beside them.
    """
    is_collapsed = _is_collapsed(mapped)
    ctes: list[tuple[str, str]] = []
    finals = []
    for position, (table, mapping) in enumerate(mapped, start=1):
        prefix = "" if len(mapped) == 1 else f"{table.name}_{position}_"
        relation = f"{prefix}source"
        ctes.append((relation, f"select * from {{{{ source('raw_{source}', '{table.name}') }}}}"))
        steps = mapping_ctes(table, mapping, relation, prefix, with_order=is_collapsed)
        ctes += [(name, _without_jinja(body)) for name, body in steps]
        finals.append(steps[-1][0])
    if len(finals) > 1:
        ctes.append(("unioned", "\nunion all by name\n".join(f"select * from {name}" for name in finals)))
    return f"{QUOTED}\n{_query(ctes)}"


def _is_collapsed(mapped: list[MAPPED]) -> bool:
    """Whether several rows of a source may make one record, of which the last counts, whichever mapping it is from."""
    return any(mapping.one_per_key for _, mapping in mapped)


def _ordering(mapped: list[MAPPED]) -> list[str]:
    """The columns of `ORDERING` that the staging model has."""
    if not _is_collapsed(mapped):
        return []
    has_order = any(mapping.order_by for _, mapping in mapped)
    return [name for name in ORDERING if has_order or name != "_order"]


def union_sql(entity: Entity, staged: Mapping[str, list[MAPPED]]) -> str:
    """The union of an entity over all sources: live records that have an id. Without a source, no rows.

    A table that follows the loads: records of loads that it has not seen yet are read again, all others stay. Of a
    row that came back changed, what it was before goes, whatever its key was.

    Args:
        entity: The entity.
        staged: The mappings by source.
    """
    names = [*output_columns(entity), *KEPT_IN_UNION]
    if not staged:
        types = _types(entity)
        lines = ",\n".join(f"    cast(null as {types[name].replace(',', ', ')}) as {name}" for name in names)
        return _query([("no_source", f"select\n{lines}\nwhere false")])
    ctes = [(f"{source}_records", _records(source, entity, mapped)) for source, mapped in staged.items()]
    if len(ctes) > 1:
        ctes.append(("unioned", "\nunion all by name\n".join(f"select * from {name}" for name, _ in ctes)))
    lines = ",\n".join(f"    {name}" for name in names)
    where = f"where\n    _deleted_at is null\n    and {entity.key_name} is not null"
    ctes.append(("live", f"select\n{lines}\nfrom {ctes[-1][0]}\n{where}"))
    tables = {source: sorted({table.name for table, _ in mapped}) for source, mapped in staged.items()}
    return f"{_following(entity, tables)}\n{_query(ctes)}"


def _following(entity: Entity, tables: Mapping[str, list[str]]) -> str:
    """How the union is kept, and the loads that it has not seen."""
    return (
        "{{ config(\n"
        "    materialized='incremental',\n"
        "    incremental_strategy='delete+insert',\n"
        f"    unique_key='{entity.key_name}',\n"
        "    on_schema_change='fail',\n"
        '    pre_hook="{{ book_outdated_records() }}",\n'
        '    post_hook="{{ delete_outdated_records() }}",\n'
        f"    meta={{'entity': '{entity.name}', 'tables': {_literal(tables)}}}\n"
        ") }}\n\n"
        "{%- set loads = new_loads() %}\n"
    )


def _records(source: str, entity: Entity, mapped: list[MAPPED]) -> str:
    """The records of one source, after the first build those of new loads only."""
    staging = f"{{{{ ref('{staging_name(source, entity)}') }}}}"
    if not _is_collapsed(mapped):
        new = "{%- if is_incremental() %}\nwhere _load_id in ({{ loads }})\n{%- endif %}"
        return f"select * from {staging}\n{new}"
    key = entity.key_name
    tables = sorted({table.name for table, _ in mapped})
    # A record is made of all its rows; those that a row made before it changed lose it.
    touched = [f"select {key}\nfrom {staging}\nwhere _load_id in ({{{{ loads }}}})"]
    touched += [
        f"select records.{key}\nfrom {{{{ this }}}} as records\n"
        f"inner join {{{{ source('raw_{source}', '{table}') }}}} as sent\n    on records._key = sent._key\n"
        f"where\n    records.source = '{source}'\n    and records._table = '{table}'\n"
        "    and sent._load_id in ({{ loads }})"
        for table in tables
    ]
    orders = ["_deleted_at is not null"]
    named = [*(["_order"] if "_order" in _ordering(mapped) else []), "_cursor", "_source_file", "_source_row", "_key"]
    orders += [f"{name} desc nulls last" for name in named]
    order = ",\n".join(f"            {each}" for each in orders)
    return (
        f"select *\nfrom {staging}\n{{%- if is_incremental() %}}\nwhere\n    {key} in (\n"
        + indent("\nunion\n".join(touched), "        ")
        + "\n    )\n{%- endif %}\nqualify\n    row_number() over (\n"
        f"        partition by {key}\n        order by\n{order}\n    ) = 1"
    )


def _query(ctes: list[tuple[str, str]]) -> str:
    bodies = ",\n\n".join(f"{name} as (\n{indent(body, '    ')}\n)" for name, body in ctes)
    return f"with\n\n{bodies}\n\nselect * from {ctes[-1][0]}\n"


def _without_jinja(sql: str) -> str:
    """SQL from the configuration as dbt must read it: braces in it are text, not Jinja."""
    if not any(mark in sql for mark in ("{{", "{%", "{#")):
        return sql
    return f"{{% raw %}}{sql}{{% endraw %}}"


def _types(entity: Entity) -> dict[str, str]:
    keys = dict.fromkeys(entity.key_columns().values(), "varchar")
    columns = {column.name: column.duckdb_type for column in entity.columns.values()}
    booked = {name: data_type for name, (data_type, _) in {**BOOKED_COLUMNS, **ORDERING}.items()}
    return {"source": "varchar", **keys, **columns, **booked}


# YAML


def _sources_yml(source: Source) -> str:
    tables = []
    for table in source.tables:
        grain = " and ".join(f"`{column}`" for column in table.key) or "row of its files"
        text = f"One row per {grain}: the latest version that passed its audit, as sent. Deleted rows stay."
        tables.append({"name": table.name, "description": text})
    description = f"Rows of `{source.name}` exactly as sent, audited. {WRITTEN}"
    name = f"raw_{source.name}"
    return _yaml({"sources": [{"name": name, "schema": name, "description": description, "tables": tables}]})


def _staging_yml(source: Source, entity: Entity, mapped: list[MAPPED]) -> str:
    tables = ", ".join(sorted({f"`{table.name}`" for table, _ in mapped}))
    grain = f"One row per row of {tables} in `{source.name}`"
    what = f"a record of {entity.name}, several of which may be one" if _is_collapsed(mapped) else "one record"
    description = f"{grain} that maps to {what}, deleted ones included. {WRITTEN}"
    names = [*output_columns(entity), "_table", *BOOKED, *_ordering(mapped), "_uncast"]
    model = {"name": staging_name(source.name, entity), "description": description}
    return _yaml({"models": [{**model, "columns": _columns(entity, names)}]})


def _union_yml(entity: Entity, sources: list[str]) -> str:
    grain = entity.grain.rstrip(".")
    origin = f"Live records of {', '.join(f'`{source}`' for source in sources)}."
    description = f"{grain}. {origin if sources else 'No source has any.'} {WRITTEN}"
    names = [*output_columns(entity), *KEPT_IN_UNION]
    columns = _columns(entity, names)
    if sources:  # an empty relation needs no tests: they could not fail
        for column in columns:
            if column["name"] == entity.key_name:
                column["data_tests"] = ["primary_key"]
    return _yaml({"models": [{"name": union_name(entity), "description": description, "columns": columns}]})


def _columns(entity: Entity, names: list[str]) -> list[dict[str, Any]]:
    types, descriptions = _types(entity), _descriptions(entity)
    columns: list[dict[str, Any]] = []
    for name in names:
        column = {"name": name, "data_type": types[name], "description": descriptions[name]}
        personal = entity.columns[name].personal if name in entity.columns else None
        columns.append({**column, "config": {"meta": {"personal": personal}}} if personal else column)
    return columns


def _descriptions(entity: Entity) -> dict[str, str]:
    texts = {"source": "Source of the record."}
    for identity, key in entity.key_columns().items():
        column = entity.columns[identity]
        target = f" of {column.references}" if column.references else ""
        texts[key] = f"Key{target} that is unique over all sources: source and `{identity}`."
    for column in entity.columns.values():
        words = f" One of: {', '.join(column.values)}." if column.values else ""
        texts[column.name] = f"{column.description}{words}"
    return texts | {name: text for name, (_, text) in {**BOOKED_COLUMNS, **ORDERING}.items()}


# Settings that models need at compile time


def setting_values(settings: Settings) -> dict[str, Any]:
    """What `setting('<name>')` gives in models."""
    return {
        "company": settings.company,
        "time_zone": settings.reporting.time_zone,
        "currency": settings.reporting.currency,
        "as_of": str(settings.reporting.as_of),
        "week_start": settings.reporting.week_start,
        "suppressed_below": settings.kpis.suppressed_below,
        "low_below": settings.kpis.low_below,
        "nps_window_days": settings.kpis.nps_window_days,
        "inactive_after_days": settings.kpis.inactive_after_days,
        "inactive_gap_factor": settings.kpis.inactive_gap_factor,
        "complaint_types": list(settings.kpis.complaint_types),
        "complaint_tags": list(settings.kpis.complaint_tags),
        "complaint_texts": list(settings.kpis.complaint_texts),
        "sla": [target.model_dump() for target in settings.kpis.sla],
        "survey_fatigue_days": settings.kpis.survey_fatigue_days,
        "journey_gap_days": settings.kpis.journey_gap_days,
        "self_service_days": settings.kpis.self_service_days,
        "feedback_contact_hours": settings.kpis.feedback_contact_hours,
        "feedback_close_days": settings.kpis.feedback_close_days,
        "survivorship": settings.identity.survivorship.model_dump(),
        "trusted_sources": list(settings.identity.trusted_sources),
        "identity_input": list(INPUT),
    }


def _setting_macro(settings: Settings) -> str:
    values = indent(_literal(setting_values(settings)), "    ")
    refusal = '"no setting " ~ name ~ "; known: " ~ values.keys() | join(", ")'
    return (
        "{#- A value of cem.yml as a literal. -#}\n"
        "{% macro setting(name) %}\n"
        f"    {{%- set values =\n{values}\n    -%}}\n"
        "    {%- if name not in values -%}\n"
        f"        {{{{ exceptions.raise_compiler_error({refusal}) }}}}\n"
        "    {%- endif -%}\n"
        "    {{ return(values[name]) }}\n"
        "{% endmacro %}\n"
    )


def _literal(value: object) -> str:
    """A value as Jinja reads it, one item a line: YAML's and Jinja's notations meet in JSON's."""
    return json.dumps(value, ensure_ascii=False, indent=4)


def _setting_yml() -> str:
    name = {"name": "name", "type": "string", "description": "Name of the setting."}
    description = f"A value of cem.yml as a literal, known when the models are compiled. {WRITTEN}"
    return _yaml({"macros": [{"name": "setting", "description": description, "arguments": [name]}]})


def _yaml(document: dict[str, Any]) -> str:
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110)
