"""The dbt files that follow from a configuration: complete, stable, and gone when their source is."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import duckdb
import forked
import yaml

from orchestration.settings import Settings
from orchestration.sources.contract import load_contract
from orchestration.sources.mapping import output_columns
from orchestration.sources.staging import dbt_inputs, write_dbt_inputs

PROJECT = Path(__file__).parents[3] / "dbt_project"

CRM = """
    company: Shop "Über"
    kpis: {complaint_tags: [complaint, شکایت]}
    sources:
      - name: crm
        kind: files
        tables:
          - name: people
            files: people.csv
            key: id
            entity: person
            columns: {person_id: id, email: mail}
          - name: sellers
            files: sellers.csv
            key: id
            entity: person
            columns: {person_id: {expression: "'s' || id"}, full_name: {value: "{{ not jinja }}"}}
          - name: updates
            files: updates.csv
            key: [number, step]
            cursor: changed
            entity: ticket
            one_per_key: true
            order_by: step
            columns: {ticket_id: number, created_at: created, status: state}
"""

SUPPORT = """
      - name: support
        kind: files
        tables:
          - name: requesters
            files: r.csv
            key: id
            entity: person
            columns: {person_id: id}
"""


def test_every_entity_has_a_union_with_all_its_columns_described(
    write_config: Callable[[str], Settings],
) -> None:
    files = dbt_inputs(write_config(CRM))

    for entity in load_contract().values():
        text = files[Path(f"models/intermediate/unioned/int_{entity.name}__unioned.yml")]
        (model,) = yaml.safe_load(text)["models"]
        assert model["description"].startswith("One row per ")
        booked = ["_table", "_key", "_load_id", "_loaded_at"]
        assert [column["name"] for column in model["columns"]] == [*output_columns(entity), *booked]
        assert all(column["description"] and column["data_type"] for column in model["columns"])
        tests = {column["name"]: column.get("data_tests") for column in model["columns"] if "data_tests" in column}
        expected = {entity.key_name: ["primary_key"]} if entity.name in {"person", "ticket"} else {}
        assert tests == expected


def test_lines_are_no_longer_than_the_style_allows(write_config: Callable[[str], Settings]) -> None:
    for path, text in dbt_inputs(write_config(CRM)).items():
        longest = max(text.splitlines(), key=len)
        assert len(longest) <= 120, f"{path}: {longest}"


def test_files_are_written_once_and_removed_with_their_source(
    write_config: Callable[[str], Settings], home: Path
) -> None:
    both = write_config(CRM + SUPPORT)
    assert write_dbt_inputs(both)
    model = home / "dbt/models/staging/support/stg_support__persons.sql"
    kept = home / "dbt/models/staging/crm/stg_crm__persons.sql"
    written_at = kept.stat().st_mtime_ns

    assert not write_dbt_inputs(both)
    assert model.exists()

    assert write_dbt_inputs(write_config(CRM))
    assert not model.parent.exists()
    assert kept.stat().st_mtime_ns == written_at


def test_dbt_builds_the_generated_models_without_a_warning(
    write_config: Callable[[str], Settings], home: Path, tmp_path: Path
) -> None:
    settings = write_config(CRM + SUPPORT)
    write_dbt_inputs(settings)
    booked = (
        "id as _key, 1::ubigint as _row_hash, null::varchar as _cursor, 'f' as _source_file, 1::bigint as _source_row,"
        "'l' as _load_id, timestamp '2024-01-01' as _loaded_at"
    )
    with duckdb.connect(str(settings.warehouse)) as con:
        con.execute("create schema raw_crm")
        con.execute("create schema raw_support")
        con.execute(
            f"create table raw_crm.people as select *, {booked} from (values ('1', 'a@example.com', null), "
            "('2', 'gone@example.com', timestamp '2024-02-01')) as v(id, mail, _deleted_at)"
        )
        con.execute(
            f"create table raw_crm.sellers as select *, {booked}, null::timestamp as _deleted_at "
            "from (values ('1')) as v(id)"
        )
        con.execute(
            f"create table raw_support.requesters as select *, {booked}, null::timestamp as _deleted_at "
            "from (values ('1')) as v(id)"
        )
        con.execute(
            "create table raw_crm.updates as select *, "
            f"{booked.replace('id as _key', 'number as _key')} from (values "
            "('T1', '9', '2024-01-01', 'new', '1', null), ('T1', '10', '2024-01-01', 'open', '1', null), "
            "('T1', '11', '2024-01-01', 'closed', '1', timestamp '2024-02-01')) "
            "as v(number, step, created, state, changed, _deleted_at)"
        )

    environment = os.environ | {
        "CEM_DBT_MODELS": os.path.relpath(settings.dbt_models, PROJECT),
        "CEM_DBT_MACROS": os.path.relpath(settings.dbt_macros, PROJECT),
        "CEM_WAREHOUSE": str(settings.warehouse),
    }
    done = forked.dbt(
        *("--warn-error", "build", "--select", "staging", "intermediate.unioned", "--indirect-selection", "cautious"),
        *("--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT)),
        *("--target-path", str(tmp_path / "target"), "--log-path", str(tmp_path / "logs")),
        environment=environment,
    )
    assert done.returncode == 0, done.stdout[-3000:]

    with duckdb.connect(str(settings.warehouse)) as con:
        people = con.execute(
            "select person_key, email, full_name from intermediate.int_person__unioned order by 1"
        ).fetchall()
        tickets = con.execute("select ticket_key, status from intermediate.int_ticket__unioned").fetchall()
        orders = con.execute("select count(*) from intermediate.int_order__unioned").fetchall()
    assert people == [
        ("crm:1", "a@example.com", None),
        ("crm:s1", None, "{{ not jinja }}"),
        ("support:1", None, None),
    ]
    # Of several updates the last by number counts, and a deleted one does not.
    assert tickets == [("crm:T1", "open")]
    assert orders == [(0,)]
