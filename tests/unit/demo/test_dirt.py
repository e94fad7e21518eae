"""The dirt of life is there: in names, mails and phones, in identities, and in rows beyond repair."""

from __future__ import annotations

import duckdb
import phonenumbers
import pytest

from tests.unit.demo.conftest import value

# One worker generates the shared companies once.
pytestmark = pytest.mark.xdist_group("demo")

CLASSES = {
    "Arabic yeh or kaf": "regexp_matches(first_name || last_name, '[يك]')",
    "zero-width joiner": "contains(last_name, chr(8204))",
    "blanks around a name": "first_name != trim(first_name)",
    "shouted name": "last_name = upper(last_name) and last_name != lower(last_name)",
    "Persian script": "regexp_matches(last_name, '[آ-ی]')",
    "Latin script": "regexp_matches(last_name, '^[A-Za-z]')",
    "missing given name": "first_name is null",
    "missing mail": "email is null",
    "empty mail": "email = ''",
    "shouted mail": "regexp_matches(email, '^[A-Z]') and email = upper(email)",
    "blanks around a mail": "email != trim(email)",
    "plus-tag": "contains(email, '+')",
    "role mailbox": "regexp_matches(lower(email), '^(info|sales|office)@')",
    "missing phone": "phone is null",
    "Persian digits in a phone": "regexp_matches(phone, '[۰-۹]')",
    "+98": "phone like '+98%'",
    "0098": "phone like '0098%'",
    "0912": "phone like '0912%'",
    "placeholder zeros": "phone = '0000000000'",
    "placeholder number": "phone = '09120000000'",
    "Persian digits in a postal code": "regexp_matches(postal_code, '[۰-۹]')",
    "sentinel birth date": "birth_date = '1900-01-01'",
}

BEYOND_REPAIR = {
    "score off its scale": "select count(*) from responses where question_id = 'REL-NPS' and trim(score) = '11'",
    "negative amount": "select count(*) from crm.orders where amount < 0",
    "unreadable time of an order": "select count(*) from crm.orders where try_cast(ordered_at as timestamp) is null",
    "closed before created": """
        select count(*) from tickets where try_cast(closed_at as timestamp) < try_cast(created_at as timestamp)
    """,
    "no key": """
        select
            (select count(*) from crm.activities where activity_id is null)
            + (select count(*) from ticket_events where event_id is null)
            + (select count(*) from responses where response_id is null)
    """,
    "ended before begun": "select count(*) from sessions where ended_at < started_at",
}


@pytest.mark.parametrize("name", CLASSES)
def test_people_are_dirty_in_every_way(con: duckdb.DuckDBPyConnection, name: str) -> None:
    share = value(con, f"select count_if({CLASSES[name]}) / count(*) from crm.people")
    assert 0 < share < 0.9


@pytest.mark.parametrize("name", BEYOND_REPAIR)
def test_some_rows_are_beyond_repair(con: duckdb.DuckDBPyConnection, name: str) -> None:
    assert value(con, BEYOND_REPAIR[name]) > 0


def test_few_rows_are_beyond_repair(con: duckdb.DuckDBPyConnection) -> None:
    rows = value(
        con,
        """
        select (select count(*) from crm.orders) + (select count(*) from tickets) + (select count(*) from responses)
            + (select count(*) from ticket_events) + (select count(*) from crm.activities)
            + (select count(*) from sessions)
        """,
    )
    bad = sum(value(con, query) for query in BEYOND_REPAIR.values())
    assert 0.0005 < bad / rows < 0.004


@pytest.mark.parametrize(("table", "number"), [("responses", "response_id"), ("ticket_events", "event_id")])
def test_exports_repeat_rows(con: duckdb.DuckDBPyConnection, table: str, number: str) -> None:
    repeated = f"select count({number}) - count(distinct {number}) from {table}"
    assert 0 < value(con, repeated) / value(con, f"select count(*) from {table}") < 0.01


def test_persian_digits_stand_for_scores(con: duckdb.DuckDBPyConnection) -> None:
    assert value(con, "select count(*) from responses where regexp_matches(score, '[۰-۹]')") > 20


def test_comments_are_awkward_to_read(con: duckdb.DuckDBPyConnection) -> None:
    for part in ("chr(10)", "';'", "'\"'"):
        assert value(con, f"select count(*) from responses where contains(comment, {part})") > 0, part
    languages = con.sql("select distinct language from responses where comment is not null order by 1").fetchall()
    assert languages == [("en",), ("fa",)]


def test_mails_can_reach_nobody(con: duckdb.DuckDBPyConnection) -> None:
    found = con.sql(
        """
        with mail as (
            select email from crm.people
            union all select requester_email from tickets
            union all select respondent_email from responses
            union all select login_email from visitors
        )

        select distinct regexp_extract(lower(trim(split_part(email, '@', 2))), '[^.]+\\.[^.]+$')
        from mail where email like '%@%'
        """
    ).fetchall()
    # The one look-alike letter that bad rows carry may stand in the domain too.
    assert {domain.replace("а", "a") for (domain,) in found} == {"example.com", "example.org", "example.net"}


def test_phones_are_real_ones_in_disguise(con: duckdb.DuckDBPyConnection) -> None:
    written = con.sql("select phone, country from crm.people where length(phone) > 5 limit 400").fetchall()
    valid = 0
    for phone, country in written:
        try:
            valid += phonenumbers.is_valid_number(phonenumbers.parse(phone, country))
        except phonenumbers.NumberParseException:
            continue
    assert valid / len(written) > 0.9


def test_systems_write_the_same_human_differently(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(
        """
        create temp view pair as
        select crm_record.true_person_id, people.email, people.last_name, ticket.requester_email, ticket.requester_name
        from ticket
        inner join who_is_who as desk on desk.source = 'demo_support' and desk.record_id = ticket.requester_id
        inner join who_is_who as crm_record
            on crm_record.source = 'demo_crm' and desk.true_person_id = crm_record.true_person_id
        inner join crm.people on crm_record.record_id = people.person_id
        """
    )
    assert value(con, "select avg((email = requester_email)::int) from pair") < 0.6
    assert value(con, "select avg((lower(trim(email)) = lower(trim(requester_email)))::int) from pair") > 0.5
    across = "regexp_matches(last_name, '[آ-ی]') and regexp_matches(requester_name, '^[ A-Za-z.]+$')"
    assert value(con, f"select avg(({across})::int) from pair") > 0.1


def test_the_crm_holds_some_humans_twice(con: duckdb.DuckDBPyConnection) -> None:
    twice = value(
        con,
        """
        select count(*) from (
            select who_is_who.true_person_id
            from who_is_who
            inner join crm.people on who_is_who.source = 'demo_crm' and who_is_who.record_id = people.person_id
            group by all having count(*) > 1
        )
        """,
    )
    assert 0.01 < twice / value(con, "select count(*) from crm.people") < 0.06


def test_families_share_a_mail(con: duckdb.DuckDBPyConnection) -> None:
    assert (
        value(
            con,
            """
            select count(*) from (
                select lower(trim(email)) from crm.people where lower(trim(email)) like 'family.%'
                group by all having count(distinct first_name) > 1
            )
            """,
        )
        > 10
    )


@pytest.mark.parametrize(
    ("source", "records"),
    [
        ("demo_crm", "select person_id from crm.people"),
        ("demo_crm", "select person_id from crm.orders"),
        ("demo_crm", "select customer_ref from campaign_touches"),
        ("demo_crm", "select crm_id from responses where crm_id is not null"),
        ("demo_support", "select requester_id from tickets"),
        ("demo_survey", "select respondent_id from responses where respondent_id is not null"),
        ("demo_survey", "select respondent_id from invitations"),
        ("demo_social", "select author_id from mentions"),
        ("demo_web", "select visitor_id from visitors"),
        ("demo_web", "select visitor_id from sessions"),
        ("demo_web", "select visitor_id from self_service_views"),
    ],
)
def test_the_truth_knows_every_record_once(con: duckdb.DuckDBPyConnection, source: str, records: str) -> None:
    known = f"select record_id from who_is_who where source = '{source}'"
    assert value(con, f"select count(*) from ({records}) as r (id) where id not in ({known})") == 0
    assert value(con, f"select count(*) - count(distinct record_id) from ({known})") == 0


def test_the_truth_knows_every_customer(con: duckdb.DuckDBPyConnection) -> None:
    assert value(con, "select count(*) from customers") == 2000
    unknown = "select count(*) from who_is_who where true_person_id like 'H%' and true_person_id not in "
    assert value(con, f"{unknown} (select true_person_id from customers)") == 0
