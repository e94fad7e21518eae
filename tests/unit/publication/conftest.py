"""A small warehouse with public marts that hold every class of personal data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from orchestration.publication.specs import MartColumn, MartSpec
from orchestration.settings import Publish, Reporting, Settings
from orchestration.warehouse import BOOKKEEPING

CUSTOMERS = MartSpec(
    name="dim_customer",
    description="One row per customer.",
    columns=(
        MartColumn("customer_id", "Id of the customer."),
        MartColumn("full_name", "Name.", "name"),
        MartColumn("given_name", "Given name.", "name"),
        MartColumn("email", "Mail address.", "email"),
        MartColumn("phone", "Phone number.", "phone"),
        MartColumn("street", "Street.", "address"),
        MartColumn("birth_date", "Date of birth.", "birth_date"),
        MartColumn("comment", "The customer's own words.", "text"),
        MartColumn("person_key", "Key of the record the customer began with."),
        MartColumn("city", "City."),
    ),
)
PARTS = MartSpec(
    name="mart_kpi_parts",
    description="One row per metric.",
    columns=(MartColumn("metric", "Metric."), MartColumn("numerator", "Part."), MartColumn("n", "Count.")),
)
KPI = MartSpec(
    name="mart_kpi",
    description="One row per metric, with its value.",
    kind="view",
    columns=(MartColumn("metric", "Metric."), MartColumn("value", "Value of the metric.")),
)


@pytest.fixture
def marts() -> list[MartSpec]:
    return [CUSTOMERS, PARTS, KPI]


@pytest.fixture
def canaries() -> tuple[str, ...]:
    """Personal values of the warehouse, none of which a masked publication may show."""
    return ("zahra", "okonkwo", "canary-mail.example", "4479460", "lavender", "۰۹۱۲۳۴۵")


@pytest.fixture
def settings_with(tmp_path: Path) -> Callable[..., Settings]:
    """Settings as they are without a word about publishing in cem.yml, and what else is given."""

    def make(**publish_options: Any) -> Settings:
        return Settings(
            config_path=tmp_path / "cem.yml",
            home=tmp_path,
            company="Acme",
            reporting=Reporting(time_zone="Asia/Tehran", currency="IRR"),
            publish=Publish(**publish_options),
            sources=(),
        )

    return make


@pytest.fixture
def settings(settings_with: Callable[..., Settings]) -> Settings:
    return settings_with()


@pytest.fixture
def warehouse(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    con = duckdb.connect(str(settings.warehouse), config={"threads": 2})
    fill(con)
    yield con
    con.close()


def fill(con: duckdb.DuckDBPyConnection) -> None:
    """Marts as dbt leaves them: tables, and a view that names its table with the catalog."""
    con.execute("set timezone = 'UTC'")
    con.execute(BOOKKEEPING)
    con.execute("create schema marts; create schema intermediate")
    con.execute(
        """
        create table marts.dim_customer as
        select
            'C00000000000' || printf('%04x', i) as customer_id,
            'Zahra Okonkwo ' || i as full_name,
            'Zahra' as given_name,
            'Zahra.Okonkwo' || i || '@canary-mail.example' as email,
            '+4479460' || printf('%05d', i) as phone,
            i || ' Lavender Road' as street,
            date '1980-06-15' + i::int as birth_date,
            'Call +44 79 460-' || printf('%05d', i) || ' or ۰۹۱۲۳۴۵۶۷۸۹, mail zahra.okonkwo' || i
                || '@canary-mail.example. Order 4711 came late.' as comment,
            case when i % 2 = 0 then 'crm:zahra.okonkwo' || i || '@canary-mail.example' else 'crm:' || i end
                as person_key,
            'Leeds' as city,
        from range(200) as t (i)
        """
    )
    con.execute("create table marts.mart_kpi_parts as select 'nps' as metric, 41 as numerator, 100 as n")
    con.execute(
        "create view marts.mart_kpi as with parts as (select * from warehouse.marts.mart_kpi_parts) "
        "select metric, numerator / n as value from parts"
    )
    con.execute(
        "create table intermediate.int_as_of__resolved as "
        "select timestamp '2024-05-01 12:00:00' as as_of_at, date '2024-05-01' as as_of_date"
    )
    con.execute(
        """
        create schema raw_crm;
        create table raw_crm.people as
        select 'Zahra' as name, case when i = 0 then timestamp '2024-05-01' end as _deleted_at
        from range(200) as t (i);
        insert into ops.loads values
        ('1', 'crm', 'people', 'promoted', 210, 200, 10, 0, null, '2024-05-01 01:00', '2024-05-01 01:01'),
        ('2', 'crm', 'people', 'held', 90, 0, 0, 0, 'Zahra sent it', '2024-05-02 01:00', '2024-05-02 01:01'),
        ('2', 'help', 'tickets', 'promoted', 5, 5, 0, 1, null, '2024-05-02 01:00', '2024-05-02 01:02');
        insert into quarantine.rows values
        ('1', 'crm', 'people', 'k1', 1, ['no mail'], '{"name": "Zahra"}', '2024-05-01 01:01', null, null),
        ('1', 'crm', 'people', 'k2', 2, ['no mail'], '{"name": "Zahra"}', '2024-05-01 01:01', '2024-05-02',
         'x');
        """
    )


@pytest.fixture
def read(settings: Settings) -> Callable[[str], list[tuple[Any, ...]]]:
    """Ask the published file as a reader does; the file is `cem` in the query."""

    def ask(query: str) -> list[tuple[Any, ...]]:
        with duckdb.connect() as reader:
            reader.execute(f"attach '{settings.published / 'marts.duckdb'}' as cem (read_only); use cem")
            return reader.execute(query).fetchall()

    return ask
