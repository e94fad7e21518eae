"""A wrong cem.yml is refused with file, line, field and what would be right; secrets stay secret."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from textwrap import dedent

import pytest

from orchestration.defs.automation import build_schedule
from orchestration.settings import Settings, SettingsError, load_settings, place_of

SHOP = """
    company: Shop
    sources:
      - name: shop
        kind: files
        folder: in
        time_zone: Europe/Berlin
        missing: ["?"]
        tables:
          - name: people
            files: people.csv
            key: id
            entity: person
            columns:
              person_id: id
              email: {column: mail, missing: [n/a, 007]}
"""


def refusal(tmp_path: Path, text: str) -> list[str]:
    """Lines of the error that a configuration gives, without the path."""
    path = tmp_path / "cem.yml"
    path.write_text(dedent(text), encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        load_settings(path, tmp_path)
    return str(caught.value).replace(f"{path}:", "").splitlines()


def test_shorthand_is_written_out_and_sources_pass_their_formats_on(
    write_config: Callable[[str], Settings], tmp_path: Path
) -> None:
    settings = write_config(SHOP)

    (table,) = settings.tables()
    (mapping,) = table.entities
    assert (table.source, table.format, table.key, table.time_zone) == ("shop", "csv", ("id",), "Europe/Berlin")
    assert table.missing == ("?",)
    assert mapping.columns["person_id"].column == "id"
    assert mapping.columns["email"].missing == ("n/a", "007")
    assert settings.source("shop").folder == tmp_path / "in"
    assert settings.warehouse == tmp_path / "home" / "warehouse.duckdb"


def test_all_problems_are_told_at_once_each_with_its_line(tmp_path: Path) -> None:
    lines = refusal(
        tmp_path,
        """\
        company: Shop
        reportng: {}
        reporting:
          time_zone: berlin
          as_of: soon
        sources:
          - name: crm
            kind: sql
            engine: oracle
            connection: x
            tables:
              - name: people
                key: id
                entity: persn
                columns: {person_id: id}
              - name: orders
                key: id
                entity: order
                columns:
                  order_id: id
                  adress: x
                  status: {column: st, map: {Open: opened}}
        """,
    )
    told = {line.partition(":")[0]: line for line in lines}

    assert "did you mean reporting? allowed: company, reporting" in told["2"]
    assert "reporting.time_zone" in told["4"] and "did you mean Europe/Berlin?" in told["4"]
    assert "allowed: latest, now, or a date" in told["5"]
    assert "sources.crm.engine: 'oracle' is not allowed; allowed: sqlite, postgres, mysql" in told["9"]
    assert "unknown entity 'persn'; did you mean person?" in told["14"]
    assert "order needs person_id, ordered_at" in told["19"]
    assert "order has no column 'adress'" in told["21"] and "promised_at" in told["21"]
    assert "'opened' is no value of status" in told["22"] and "placed, paid" in told["22"]
    assert len(lines) == 8


@pytest.mark.parametrize(
    ("mapping", "told"),
    [
        ("full_name: {columm: x}", "did you mean column?"),
        ("full_name: {column: x, value: y}", "says column and value; allowed: exactly one"),
        ("full_name: {column: x, default: y}", "give `map` too"),
        ("full_name: {column: x, source: shop}", "refers to no entity"),
        ("full_name: {column: x, format: '%Y'}", "is for timestamp and date columns"),
        ("account_id: {column: x, source: erp}", "unknown source 'erp'; allowed: shop"),
        ("created_at: {column: x, time_zone: Mars}", "unknown time zone 'Mars'"),
        ("created_at: {column: x, format: '%d/%m/%Y %H:%i'}", "'%d/%m/%Y %H:%i' is no format of times; allowed:"),
        ("created_at: {column: x, format: [epoch_seconds, dd/MM/yyyy]}", "'dd/MM/yyyy' is no format of times"),
        ("birth_date: {column: x, date_order: mdd}", "'mdd' is not allowed; allowed: dmy, mdy, ymd"),
    ],
)
def test_a_wrong_column_mapping_is_explained(tmp_path: Path, mapping: str, told: str) -> None:
    text = SHOP.replace("email: {column: mail, missing: [n/a, 007]}", mapping)

    lines = refusal(tmp_path, text)

    assert all(line.startswith("16: sources.shop.tables.people.entities.person.columns.") for line in lines)
    assert any(told in line for line in lines)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("files: people.csv", "table: people", "is not for a source of kind files; allowed: files, rows"),
        ("files: people.csv", "files: people.dat", "not clear from the file names; allowed: csv, jsonl"),
        ("files: people.csv", "optional: true", "says nothing to read; allowed: files, rows"),
        ("name: people", "name: Peo-ple", "'Peo-ple' is no name; allowed: a-z, 0-9 and _"),
        ("kind: files", "kind: ftp", "'ftp' is not allowed; allowed: files, sql"),
        ("kind: files", "kind: sql", "engine: is required for kind sql; allowed: sqlite, postgres, mysql"),
        ("key: id", "delimiter: \\t", 'allowed: one character (a tab is written "\\t", in double quotes)'),
        ("key: id", "keys: id", "unknown setting 'keys'; did you mean key?"),
    ],
)
def test_a_wrong_table_is_explained(tmp_path: Path, before: str, after: str, told: str) -> None:
    assert any(told in line for line in refusal(tmp_path, SHOP.replace(before, after)))


@pytest.mark.parametrize(
    "cron", ["0 3 * * *", "*/15 0-6,22 * * mon-fri", "30 2 1 jan,JUL 7", "0 3 L * *", "5 4 29 2 *"]
)
def test_times_of_the_schedule_are_those_that_dagster_keeps(write_config: Callable[[str], Settings], cron: str) -> None:
    settings = write_config(SHOP.replace("company: Shop", f"schedule: {{cron: '{cron}'}}"))

    assert build_schedule(settings).cron_schedule == cron


@pytest.mark.parametrize(
    ("cron", "told"),
    [
        ("0 25 * * *", "there is no such time"),
        ("60 3 * * *", "there is no such time"),
        ("0 3 * 13 *", "there is no such time"),
        ("0 3 * * 8", "there is no such time"),
        ("0 3 * * fry", "there is no such time"),
        ("0 0 31 4 *", "there is no such time"),
        ("0 0 30 2 mon", "there is no such time"),
        ("*/0 3 * * *", "there is no such time"),
        ("0 3 1W * *", "allowed: five fields"),
        ("0 3 * *", "allowed: five fields"),
        ("3:00", "allowed: five fields"),
    ],
)
def test_a_time_that_never_comes_is_refused(tmp_path: Path, cron: str, told: str) -> None:
    (line,) = refusal(tmp_path, SHOP.replace("company: Shop", f"schedule:\n      cron: '{cron}'"))

    assert line.startswith("3: schedule.cron: ")
    assert told in line and "hour (0-23)" in line


def test_what_is_looked_at_may_not_be_above_what_is_linked(tmp_path: Path) -> None:
    limits = "identity:\n      review_probability: 0.995\n      link_probability: 0.99"

    (line,) = refusal(tmp_path, SHOP.replace("company: Shop", limits))

    assert line.startswith("3: identity.review_probability: 0.995 is above identity.link_probability (0.99)")


@pytest.mark.parametrize("half", ["user: cem", "password: '${MAIL_PASSWORD}'"])
def test_half_a_login_at_a_mail_server_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, half: str) -> None:
    monkeypatch.setenv("MAIL_PASSWORD", "hunter2")
    mail = f"notify:\n      mail: {{host: mail.example.com, sender: cem@example.com, to: [me@example.com], {half}}}"

    (line,) = refusal(tmp_path, SHOP.replace("company: Shop", mail))

    assert "notify.mail.password: user and password belong together" in line
    assert "hunter2" not in line


def test_pairs_may_be_linked_or_forgotten_without_review(write_config: Callable[[str], Settings]) -> None:
    limits = "identity: {link_probability: 0.9, review_probability: 0.9}"

    assert write_config(SHOP.replace("company: Shop", limits)).identity.review_probability == 0.9


@pytest.mark.parametrize("trusted", ["[shop, shpo]", "shpo"])
def test_a_trusted_source_that_there_is_not_is_named(tmp_path: Path, trusted: str) -> None:
    (line,) = refusal(tmp_path, SHOP.replace("company: Shop", f"identity:\n      trusted_sources: {trusted}"))

    assert line == "3: identity.trusted_sources: unknown source 'shpo'; did you mean shop? allowed: shop"


def test_sources_of_the_demo_may_be_trusted(write_config: Callable[[str], Settings]) -> None:
    settings = write_config("identity: {trusted_sources: [demo_crm]}\nsources: [{name: demo, kind: demo}]")

    assert settings.identity.trusted_sources == ("demo_crm",)


def test_names_given_twice_are_refused(tmp_path: Path) -> None:
    text = dedent(SHOP)
    twice = text + text[text.index("  - name: shop") :]

    assert any("sources.shop.name: given twice, first in line 4" in line for line in refusal(tmp_path, twice))


def test_a_missing_variable_is_named_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SHOP_ENCODING", raising=False)

    (line,) = refusal(tmp_path, SHOP.replace("folder: in", "encoding: ${SHOP_ENCODING}"))

    assert line.startswith("6: ") and "environment variable SHOP_ENCODING is not set" in line


def test_variables_and_their_defaults_are_put_in(
    write_config: Callable[[str], Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_NAME", "Bazaar")
    monkeypatch.delenv("SHOP_CODE", raising=False)
    text = SHOP.replace("company: Shop", "company: ${SHOP_NAME} ${SHOP_CODE:-north} $${KEPT}")

    assert write_config(text).company == "Bazaar north ${KEPT}"


def test_secrets_are_neither_shown_nor_told_in_errors(
    write_config: Callable[[str], Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_PASSWORD", "hunter2")
    good = """
        sources:
          - name: crm
            kind: sql
            engine: postgres
            connection: postgresql://u:${DATABASE_PASSWORD}@h/d
            tables: [{name: people, key: id}]
    """
    settings = write_config(good)
    assert settings.sources[0].connection is not None
    assert settings.sources[0].connection.get_secret_value() == "postgresql://u:hunter2@h/d"
    assert "hunter2" not in repr(settings) + str(settings) + settings.model_dump_json()

    bad = good.replace("engine: postgres", "engine: pg-${DATABASE_PASSWORD}").replace("connection", "conection")
    told = "\n".join(refusal(tmp_path, bad))
    assert "hunter2" not in told
    assert "'pg-${DATABASE_PASSWORD}' is not allowed" in told


def test_words_of_yaml_stay_as_written_where_they_are_data(write_config: Callable[[str], Settings]) -> None:
    settings = write_config("""
        sources:
          - name: crm
            kind: files
            tables:
              - name: people
                files: a.csv
                missing: [007, 1.0, No]
                entity: ticket
                columns:
                  ticket_id: id
                  created_at: at
                  native_is_sla_met: {column: x, map: {Yes: true, 1.0: No, on: null}}
              - name: list
                rows: [{id: 010, ok: Yes, at: 2024-01-01, none: ~}]
    """)

    people, inline = settings.tables()
    assert people.missing == ("007", "1.0", "No")
    assert people.entities[0].columns["native_is_sla_met"].map == {"Yes": "true", "1.0": "No", "on": None}
    assert inline.rows == ({"id": "010", "ok": "Yes", "at": "2024-01-01", "none": None},)


def test_a_table_changes_the_guard_in_parts(write_config: Callable[[str], Settings]) -> None:
    text = SHOP.replace("company: Shop", "guard: {max_bad_share: 0.2, max_bad_rows_floor: 5}").replace(
        "key: id", "key: id\n            guard: {max_bad_share: 0.5}"
    )

    (table,) = write_config(text).tables()

    assert (table.guard.max_bad_share, table.guard.max_bad_rows_floor) == (0.5, 5)


def test_reporting_may_look_from_a_fixed_date(write_config: Callable[[str], Settings]) -> None:
    settings = write_config(SHOP.replace("company: Shop", "reporting: {as_of: 2025-12-31}"))

    assert settings.reporting.as_of == date(2025, 12, 31)


def test_the_demo_stands_for_files_and_databases(write_config: Callable[[str], Settings], home: Path) -> None:
    settings = write_config("sources: [{name: demo, kind: demo, customers: 1234}]")

    assert settings.demo is not None and settings.demo.customers == 1234
    assert {source.kind for source in settings.sources} == {"files", "sql"}
    crm = settings.source("demo_crm").connection
    assert crm is not None and crm.get_secret_value().startswith(str(home / "demo"))


def test_demo_options_are_checked_where_they_are_written(tmp_path: Path) -> None:
    lines = refusal(tmp_path, "sources:\n  - name: demo\n    kind: demo\n    custommers: 10\n")

    assert lines == [
        "4: demo.custommers: unknown setting 'custommers'; did you mean customers? allowed: customers, seed, days"
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("sources: [", "not valid YAML"),
        ("sources: *.csv", "a text that begins with * or & needs quotes"),
        ("- a\n- b\n", "the top level must be a mapping"),
        ("company: X\n", "sources: is required"),
        ("sources: []\n", "must have at least one source"),
        ("company: A\ncompany: B\nsources: []\n", "given twice, first in line 1"),
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, text: str, told: str) -> None:
    assert told in "\n".join(refusal(tmp_path, text))


def test_an_absent_file_is_told_by_its_path(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nothing\.yml:1: no such file"):
        load_settings(tmp_path / "nothing.yml", tmp_path)


def test_the_environment_says_where_configuration_and_state_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my.yml").write_text(dedent(SHOP))
    monkeypatch.setenv("CEM_CONFIG", str(tmp_path / "my.yml"))
    monkeypatch.setenv("CEM_HOME", str(tmp_path / "state"))

    settings = load_settings()

    assert settings.config_path == tmp_path / "my.yml"
    assert settings.home == tmp_path / "state"


def test_the_place_of_a_mapping_is_found_again(write_config: Callable[[str], Settings], tmp_path: Path) -> None:
    settings = write_config(SHOP)

    place, name = place_of(settings, settings.tables()[0], "entities.person.columns.email")

    assert (place.file, place.line) == (str(tmp_path / "cem.yml"), 16)
    assert name == "sources.shop.tables.people.entities.person.columns.email"
