"""Masking: each class of personal data, against values as people write them."""

from __future__ import annotations

import hashlib
import hmac

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.publication.masking import (
    hashing,
    keyed_hash,
    load_key,
    masked_select,
    redacted,
)
from orchestration.publication.specs import MartColumn, MartSpec, PublicationError

KEY = b"0123456789abcdef0123456789abcdef"


def mask(values: dict[str, object], mart: str = "dim_customer", **personal: str) -> dict[str, object]:
    """The one row as readers see it."""
    spec = MartSpec(mart, tuple(MartColumn(name, personal=personal.get(name)) for name in values))
    with duckdb.connect() as con, hashing(con, KEY):
        parameters = ", ".join(f"${name} as {name}" for name in values)
        con.execute(f"create table t as select {parameters}", values)
        types = dict(
            con.execute("select column_name, data_type from duckdb_columns() where table_name = 't'").fetchall()
        )
        result = con.execute(masked_select(spec, types, "t"))
        return dict(zip([column[0] for column in result.description], result.fetchone(), strict=True))


def python_hash(text: str, key: bytes = KEY) -> str:
    return hmac.new(key, text.encode(), "sha256").hexdigest()[:32]


@settings(deadline=None)
@given(texts=st.lists(st.text(), min_size=1, max_size=20), key=st.binary(min_size=1, max_size=150))
def test_keyed_hash_is_hmac_sha256(texts, key):
    texts = [text.replace("\0", "") for text in texts]
    with duckdb.connect() as con, hashing(con, key):
        found = con.execute(f"select {keyed_hash('t')} from unnest($texts) as u (t)", {"texts": texts})
        assert [row[0] for row in found.fetchall()] == [python_hash(text, key) for text in texts]


def test_the_key_does_not_stay_on_the_connection():
    with duckdb.connect() as con:
        with hashing(con, KEY):
            pass
        assert con.execute("select getvariable('cem_hash_inner')").fetchone() == (None,)


def test_equal_mails_stay_equal_however_written():
    first = mask({"email": " Sara@Example.com "}, email="email")
    assert first == mask({"email": "sara@example.com"}, email="email") == {"email": python_hash("sara@example.com")}
    assert mask({"email": None}, email="email") == {"email": None}


def test_equal_phones_stay_equal_in_any_digits():
    expected = {"phone": python_hash("989123456789")}
    assert mask({"phone": "+98 912 345 6789"}, phone="phone") == expected
    assert mask({"phone": "۹۸۹۱۲۳۴۵۶۷۸۹"}, phone="phone") == expected
    assert mask({"phone": "n/a"}, phone="phone") == {"phone": python_hash("n/a")}


def test_a_customer_gets_a_label_from_the_id_of_the_row():
    row = {"customer_id": "C00000000009f3a1c", "full_name": "Sara Ahmadi", "given_name": "Sara"}
    assert mask(row, full_name="name", given_name="name") == {
        "customer_id": "C00000000009f3a1c",
        "full_name": "Customer 9F3A1C",
        "given_name": None,
    }
    assert mask({**row, "full_name": None}, full_name="name")["full_name"] is None


def test_names_that_are_not_of_the_row_s_customer_get_labels_of_their_own():
    row = {"customer_id": "C1", "agent_name": "Ali"}
    first = mask(row, "fct_ticket", agent_name="name")
    assert first == {"customer_id": "C1", "agent_name": f"Agent {python_hash('ali')[:8]}"}
    assert mask({"name": "Ali"}, "dim_agent", name="name") == {"name": f"Agent {python_hash('ali')[:8]}"}


def test_address_and_birth_date():
    row = mask(
        {"street": "1 High St", "birth_date": None, "born": "1980-06-15"},
        street="address", birth_date="birth_date", born="birth_date",
    )  # fmt: skip
    assert row == {"street": None, "birth_date": None, "born": None}
    with duckdb.connect() as con:
        spec = MartSpec("m", (MartColumn("d", personal="birth_date"),))
        query = masked_select(spec, {"d": "DATE"}, "(select date '1980-06-15' as d)")
        assert con.execute(f"select ({query})::text").fetchone() == ("1980-01-01",)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("write to Sara.Ahmadi+x@mail.example.com, please", "write to [mail], please"),
        ("mail:سارا@مثال.ایران!", "mail:[mail]"),
        ("call 0912 345-67 89 now", "call [number] now"),
        ("شماره ۰۹۱۲۳۴۵۶۷۸۹ است", "شماره [number] است"),
        ("٠٩١٢-٣٤٥-٦٧٨٩", "[number]"),
        ("0912\u200e345\u00a0678\u20119", "[number]"),
        ("order 123456 of 2024 costs 99.90", "order 123456 of 2024 costs 99.90"),
        ("card 4111 1111 1111 1111", "card [number]"),
        ("no contact @ all", "no contact @ all"),
        ("(021) 8888.7777", "([number]"),
    ],
)
def test_free_text_loses_mails_and_long_numbers(text, expected):
    with duckdb.connect() as con:
        assert con.execute(f"select {redacted('$t::varchar')}", {"t": text}).fetchone() == (expected,)


def test_a_mail_in_a_column_of_no_class_is_hashed_and_stays_joinable():
    key = "crm:sara@example.com"
    assert mask({"person_key": key, "city": "Leeds @ home"}) == {
        "person_key": python_hash(key),
        "city": "Leeds @ home",
    }
    assert mask({"keys": [key, "crm:2"]}) == {"keys": None}
    assert mask({"keys": ["crm:1"]}) == {"keys": ["crm:1"]}


@pytest.mark.parametrize(
    "key",
    [
        "+989123456789",
        "shop:+989123456789",
        "shop:09123456789",
        "shop:00989123456789",
        "shop:0912-345-67 89",
        "shop:(0912) 345.6789",
        "shop:+98 (0) 912 345 6789",
        "shop:۰۹۱۲۳۴۵۶۷۸۹",
        "٠٩١٢٣٤٥٦٧٨٩",
        "shop:＋۹۸۹۱۲۳۴۵۶۷۸۹",
        "order_placed:shop:09123456789",
        "shop:09123456789 crm:1",
        "crm:1 shop:09123456789",
    ],
)
def test_a_phone_in_a_column_of_no_class_is_hashed_and_stays_joinable(key):
    assert mask({"person_key": key}) == mask({"person_key": key}, "fct_order") == {"person_key": python_hash(key)}


@pytest.mark.parametrize(
    "key",
    [
        "0000012345",
        "demo_crm:0000012345",
        "demo_crm:O17612345678",
        "shop:1000123456789",
        "1000123456789",
        "0.123456789012",
        "01-02-2024",
        "shop.orders:2024-05-01 00:00:05.123456",
        "gregorian:month:2024-05-01",
        "کرمانشاه",
        "-",
        "",
    ],
)
def test_an_id_that_is_no_phone_stays_as_it_is(key):
    assert mask({"person_key": key}) == {"person_key": key}


def test_phones_in_lists_of_ids_are_hidden():
    assert mask({"keys": ["crm:1", "shop:09123456789"]}) == {"keys": None}
    assert mask({"keys": ["09123456789", "crm:1"]}) == {"keys": None}
    assert mask({"keys": ["crm:1", "0000012345"]}) == {"keys": ["crm:1", "0000012345"]}


def test_staff_known_by_an_id_that_may_be_a_name_get_labels():
    assert mask({"owner_id": "Sara Karimi"}, "fct_opportunity", owner_id="name") == {
        "owner_id": f"Owner {python_hash('sara karimi')[:8]}"
    }


def test_text_of_another_type_is_hidden_whole():
    assert mask({"comments": ["call me"]}, comments="text") == {"comments": None}


def test_the_key_is_made_once_and_only_its_owner_reads_it(tmp_path):
    path = tmp_path / "home" / "secret.key"
    key = load_key(path)
    assert key == load_key(path) and len(key) == 64
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_key(tmp_path / "other.key") != key
    path.chmod(0o644)
    load_key(path)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_key_of_one_s_own_is_used_and_a_short_one_refused(tmp_path):
    (tmp_path / "secret.key").write_text("x" * 20 + "\n")
    assert load_key(tmp_path / "secret.key") == b"x" * 20
    (tmp_path / "secret.key").write_text("")
    with pytest.raises(PublicationError, match=r"secret\.key"):
        load_key(tmp_path / "secret.key")


def test_hashes_of_another_key_differ():
    assert python_hash("a") != hmac.new(hashlib.sha256(KEY).digest(), b"a", "sha256").hexdigest()[:32]
