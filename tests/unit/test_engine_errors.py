"""Errors that leave the warehouse quote no value of a row."""

from __future__ import annotations

import duckdb
import pytest

from orchestration.engine_errors import values_hidden, without_values

CANARY = "Zahra O'Konkwo"


@pytest.fixture
def people():
    with duckdb.connect() as con:
        con.execute("create table people (name varchar unique, born varchar, text varchar)")
        con.execute("insert into people values (?, ?, ?)", [CANARY, f"{CANARY} was born", f"{{{CANARY}"])
        yield con


@pytest.mark.parametrize(
    "statement",
    [
        "select name::integer from people",
        "select born::date from people",
        "select strptime(born, '%Y') from people",
        "select name::integer[] from people",
        "select json_extract(text, '$.a') from people",
        "insert into people select * from people",
        "select error(name) from people",
    ],
)
def test_the_value_that_did_not_fit_is_not_told(people, statement):
    with pytest.raises(duckdb.Error) as told, values_hidden():
        people.execute(statement).fetchall()
    assert "Konkwo" not in str(told.value)
    assert "the value is not shown here" in str(told.value)
    assert told.value.__cause__ is None and told.value.__suppress_context__


def test_an_error_with_such_a_cause_loses_the_cause(people):
    with pytest.raises(RuntimeError, match="the step failed") as told, values_hidden():
        try:
            people.execute("select name::integer from people").fetchall()
        except duckdb.Error as error:
            raise RuntimeError("the step failed") from error
    assert told.value.__cause__ is None and told.value.__context__ is None


def test_what_names_only_columns_and_tables_stays(people):
    with pytest.raises(duckdb.BinderException, match="nothing"), values_hidden():
        people.execute("select nothing from people")
    with pytest.raises(duckdb.ConversionException, match="in column born"), values_hidden():
        people.execute("select born::date from people").fetchall()
    assert "permission" in without_values(duckdb.IOException("IO Error: no permission"))
