"""Rows written in cem.yml itself: small reference lists, such as the questions of a survey."""

from __future__ import annotations

import hashlib
import json

from orchestration.settings import Table
from orchestration.sources.reading import Relation, column_names, renamed
from orchestration.sources.values import literal

PLACE = "cem.yml"
"""What `_source_file` says of such rows."""


def inline_relation(table: Table) -> Relation | None:
    """The rows of the configuration, every value a text; None when there are none."""
    rows = table.rows or ()
    keys = list(dict.fromkeys(key for row in rows for key in row))
    if not keys:
        return None
    names = column_names(table, keys, PLACE)
    shape = json.dumps([dict.fromkeys(keys, "VARCHAR")], ensure_ascii=False)
    text = json.dumps(list(rows), ensure_ascii=False)
    sql = (
        f"select {renamed(keys, names)}, row_number() over () as _source_row "
        f"from (select unnest(from_json({literal(text)}, {literal(shape)}), max_depth := 2))"
    )
    return Relation(sql, dict.fromkeys(names, "VARCHAR"), PLACE)


def inline_fingerprint(table: Table) -> str:
    """Changes when the rows or their key change."""
    text = json.dumps([table.rows, table.key, table.cursor], ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
