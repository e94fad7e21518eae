"""Rules of normalisation, one row a rule."""

from __future__ import annotations

import duckdb
import pytest

from orchestration.identity import normalise, state


@pytest.fixture(scope="module")
def con() -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    state.ensure_schema(con)
    return con


def mail(con: duckdb.DuckDBPyConnection, text: str) -> tuple[str | None, bool]:
    con.execute("create or replace temp table mails as select $1 as text", [text])
    normalise.add_emails(con, "mails", "mail_keys", ("info", "customer-service"))
    return con.execute("select email, is_role from mail_keys").fetchall()[0]


def name(con: duckdb.DuckDBPyConnection, text: str) -> tuple[str | None, str | None]:
    con.execute("create or replace temp table names as select $1 as name", [text])
    normalise.add_name_keys(con, "names", "name_keys")
    return con.execute("select name_key, name_skeleton from name_keys").fetchall()[0]


def phone_text(con: duckdb.DuckDBPyConnection, text: str | None) -> str | None:
    query = f"select {normalise.phone_text_sql('phone')} from (select $1::text as phone)"
    return con.execute(query, [text]).fetchall()[0][0]


@pytest.mark.parametrize(
    ("text", "email"),
    [
        ("Ali.Karimi@Post.IR", "ali.karimi@post.ir"),
        ("  ali@post.ir ", "ali@post.ir"),
        ("ali@post\u200c.ir", "ali@post.ir"),
        ("ali＠post.ir", "ali@post.ir"),
        ("Ali Karimi <ali@post.ir>", "ali@post.ir"),
        ("mailto:ali@post.ir", "ali@post.ir"),
        ("ali@post.ir.", "ali@post.ir"),
        ("ali+shop@post.ir", "ali@post.ir"),
        ("a.l.i+x@gmail.com", "ali@gmail.com"),
        ("a.li@googlemail.com", "ali@gmail.com"),
        ("ali@gmial.com", "ali@gmail.com"),
        ("a.li@outlook.com", "a.li@outlook.com"),
        ("ali@post", None),
        ("ali@@post.ir", None),
        ("ali.post.ir", None),
        ("@post.ir", None),
        ("", None),
    ],
)
def test_mail_key(con: duckdb.DuckDBPyConnection, text: str, email: str | None) -> None:
    assert mail(con, text)[0] == email


@pytest.mark.parametrize(
    ("text", "is_role"),
    [
        ("info@shop.com", True),
        ("INFO+x@shop.com", True),
        ("customer.service@shop.com", True),
        ("no-reply@shop.com", True),
        ("noemail@gmail.com", True),
        ("informatik@shop.com", False),
        ("ali@info.com", False),
    ],
)
def test_role_mailboxes(con: duckdb.DuckDBPyConnection, text: str, is_role: bool) -> None:
    assert mail(con, text)[1] is is_role


@pytest.mark.parametrize(
    ("text", "digits"),
    [
        ("0912 123 45 68", "09121234568"),
        ("۰۹۱۲۱۲۳۴۵۶۸", "09121234568"),
        ("٠٩١٢١٢٣٤٥٦٨", "09121234568"),
        ("+98 (912) 123-4568", "+989121234568"),
        ("tel: +98 912 1234568", "+989121234568"),
        ("2025550143 ext. 12", "2025550143"),
        ("09121234568 / 09127654329", "09121234568"),
        ("021-88776655/6", "02188776655"),
        ("02188776655 ext 12/3", "02188776655"),
        ("030/1234567", "0301234567"),
        ("0171 / 234 5678, 030/1234567", "01712345678"),
        ("+49/171/2345678", "+491712345678"),
        ("9121234568.0", "9121234568"),
        ("9.12E+09", None),
        ("12345", None),
        ("none", None),
        (None, None),
    ],
)
def test_phone_digits(con: duckdb.DuckDBPyConnection, text: str | None, digits: str | None) -> None:
    assert phone_text(con, text) == digits


@pytest.mark.parametrize(
    ("text", "region", "phone"),
    [
        ("09121234568", "IR", "+989121234568"),
        ("9121234568", "IR", "+989121234568"),
        ("00989121234568", "IR", "+989121234568"),
        ("989121234568", "US", "+989121234568"),
        ("+989121234568", "US", "+989121234568"),
        ("07400123456", "GB", "+447400123456"),
        ("2025550143", "US", "+12025550143"),
        ("5550143", "US", None),
        ("123456789012345678", "US", None),
    ],
)
def test_phone_in_its_country(text: str, region: str, phone: str | None) -> None:
    assert normalise.parse_phone(text, region)[0] == phone


@pytest.mark.parametrize(
    ("phone", "is_placeholder"),
    [
        ("+989120000000", True),
        ("+12025555505", False),
        ("+15555555555", True),
        ("+989121234567", True),
        ("+989127654321", True),
        ("+989121234568", False),
        (None, False),
    ],
)
def test_placeholder_phones(con: duckdb.DuckDBPyConnection, phone: str | None, is_placeholder: bool) -> None:
    found = con.execute(f"select {normalise.is_placeholder_sql('phone')} from (select ?::text as phone)", [phone])
    assert found.fetchall() == [(is_placeholder,)]


@pytest.mark.parametrize(
    ("country", "region"),
    [
        ("GB", "GB"),
        (" gb ", "GB"),
        ("UK", "GB"),
        ("EL", "GR"),
        ("ZZ", "IR"),
        ("Germany", "IR"),
        ("", "IR"),
        (None, "IR"),
    ],
)
def test_region_of_a_country(con: duckdb.DuckDBPyConnection, country: str | None, region: str) -> None:
    query = f"select {normalise.region_sql('country', 'IR')} from (select $1::text as country)"
    assert con.execute(query, [country]).fetchall() == [(region,)]


def test_a_spelling_is_read_once(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("create or replace temp table phones (phone_text text, region text)")
    con.execute("insert into phones values ('09121234568', 'IR'), ('09121234569', 'IR'), (null, 'IR')")
    con.execute("insert into identity.phone values ('09121234568', 'IR', 'known already', true, false)")
    normalise.learn_phones(con, "phones", "learnt")
    assert con.execute("select phone_text, phone from learnt").fetchall() == [("09121234569", "+989121234569")]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("Mohammadreza  KARIMI", "mohammadreza karimi"),
        ("Karimi, Mohammadreza", "karimi mohammadreza"),
        ("محمّد رضا كريمي", "محمد رضا کریمی"),
        ("محمد\u200cرضا کریمی", "محمدرضا کریمی"),
        ("ﻛﺮﯾﻤﻲ", "کریمی"),
        ("ＡＬＩ", "ali"),
        ("آقای دکتر علی رئوفی", "علی ریوفی"),
        ("Dr. Ali Raoufi", "ali raoufi"),
        ("Mr", "mr"),
        ("O'Brien, Sean-Paul", "obrien sean paul"),
        ("Łukasz Müßig", "lukasz mussig"),
        ("Ali2 Karimi 👍", "ali karimi"),
        ("李", "李"),
        ("K", None),
        ("Test", None),
        ("N/A", None),
        ("Unknown Unknown", None),
        ("N/A, N/A", None),
        ("Mr Guest User", None),
        ("Christopher Guest", "christopher guest"),
        ("Guestson", "guestson"),
        ("مشتری", None),
        ("123", None),
        (" ", None),
    ],
)
def test_name_key(con: duckdb.DuckDBPyConnection, text: str, key: str | None) -> None:
    assert name(con, text)[0] == key


@pytest.mark.parametrize(
    ("persian", "latin"),
    [
        ("محمد رضا کریمی", "Mohammadreza Karimi"),
        ("محمد رضا کریمی", "Karimi Mohammad Reza"),
        ("قاسم غفاری", "Ghasem Qaffari"),
        ("حسین رضایی", "Hussain Rezaei"),
        ("شهرزاد خسروی", "Shahrzad Khosravi"),
        ("فاطمه زهرا احمدی", "Fatemeh Zahra Ahmadi"),
        ("مژگان چنگیزی", "Mojgan Changizi"),
        ("داوود جوادی", "Davood Javadi"),
        ("عطیه ذوالفقاری", "Atieh Zolfaghari"),
    ],
)
def test_skeleton_meets_in_both_scripts(con: duckdb.DuckDBPyConnection, persian: str, latin: str) -> None:
    assert name(con, persian)[1] == name(con, latin)[1]


@pytest.mark.parametrize(("one", "other"), [("علی کریمی", "Ali Kamali"), ("زهرا احمدی", "Sara Ahmadi")])
def test_skeleton_keeps_other_names_apart(con: duckdb.DuckDBPyConnection, one: str, other: str) -> None:
    assert name(con, one)[1] != name(con, other)[1]


@pytest.mark.parametrize(("text", "key"), [(" 12 ", "12"), ("0", None), ("N/A", None), ("", None), (None, None)])
def test_external_id(con: duckdb.DuckDBPyConnection, text: str | None, key: str | None) -> None:
    query = f"select {normalise.external_id_sql('id')} from (select $1::text as id)"
    assert con.execute(query, [text]).fetchall() == [(key,)]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("crm:12", "crm:12"),
        ("crm:a:0", "crm:a:0"),
        ("crm:0", None),
        ("crm:Undefined ", None),
        ("crm:", None),
        (None, None),
    ],
)
def test_linked_person_key(con: duckdb.DuckDBPyConnection, text: str | None, key: str | None) -> None:
    query = f"select {normalise.linked_person_key_sql('linked')} from (select $1::text as linked)"
    assert con.execute(query, [text]).fetchall() == [(key,)]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("12  Rupp-Place ", "12 rupp place"),
        ("Hauptstraße 3/B", "hauptstraße 3 b"),
        ("Łódź, Ul. Długa 7", "lodz ul dluga 7"),
        ("خیابان آزادي، پلاک ۱۲", "خیابان ازادی پلاک 12"),
        ("‏", None),
        (" - ", None),
        (None, None),
    ],
)
def test_address(con: duckdb.DuckDBPyConnection, text: str | None, key: str | None) -> None:
    query = f"select {normalise.address_sql('line')} from (select $1::text as line)"
    assert con.execute(query, [text]).fetchall() == [(key,)]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("sw1a 1aa", "SW1A1AA"),
        ("۱۲۳۴۵-۶۷۸۹۰", "1234567890"),
        ("007-3", "0073"),
        ("NA 10", "NA10"),
        ("--", None),
        ("0000000000", None),
        ("۰۰۰-۰۰", None),
        ("N / A", None),
        ("unknown", None),
        ("-1", None),
        (None, None),
    ],
)
def test_code(con: duckdb.DuckDBPyConnection, text: str | None, key: str | None) -> None:
    query = f"select {normalise.code_sql('code')} from (select $1::text as code)"
    assert con.execute(query, [text]).fetchall() == [(key,)]


@pytest.mark.parametrize(
    ("text", "key"),
    [("1980-03-04", "19800304"), ("۱۹۸۰/۰۳/۰۴", "19800304"), ("1980", None), ("unknown", None), (None, None)],
)
def test_birth_date(con: duckdb.DuckDBPyConnection, text: str | None, key: str | None) -> None:
    query = f"select {normalise.birth_sql('birth')} from (select $1::text as birth)"
    assert con.execute(query, [text]).fetchall() == [(key,)]
