"""What people decided: two records are one human, or are not, whatever the rules say; and what they judged.

A decision has a name and a reason, is never deleted, and ends only by another decision on the pair or by being
undone, with a name and a reason too. The next run of identity applies it. A judgement changes nothing: judgements on a
random sample of the links estimate how many of all links are right.

Belongs here: keeping both, and listing what waits for one. Does not belong here: how a decision weighs against
rules (`clusters`).
"""

from __future__ import annotations

import duckdb

from orchestration.identity.state import ensure_schema
from orchestration.identity.weighing import to_probability_sql
from orchestration.warehouse import new_load_id, utc_now


class DecisionError(ValueError):
    """A decision that cannot be made; the message says why."""


def force(con: duckdb.DuckDBPyConnection, person_key_a: str, person_key_b: str, by: str, reason: str) -> None:
    """Decide that two records are one human.

    Args:
        con: The warehouse.
        person_key_a: Key of one record: source and id.
        person_key_b: Key of the other.
        by: Who decided.
        reason: Why; both are kept for ever.

    Raises:
        DecisionError: A record is unknown, the two are one, the decision stands already, or name or reason is missing.
    """
    _decide(con, "force", person_key_a, person_key_b, by, reason)


def forbid(con: duckdb.DuckDBPyConnection, person_key_a: str, person_key_b: str, by: str, reason: str) -> None:
    """Decide that two records are two humans; also the way to undo a merge that the rules made. As `force`."""
    _decide(con, "forbid", person_key_a, person_key_b, by, reason)


def undo(con: duckdb.DuckDBPyConnection, person_key_a: str, person_key_b: str, by: str, reason: str) -> None:
    """Take back what was decided about two records: the rules hold again. As `force`."""
    ensure_schema(con)
    a, b = _checked(person_key_a, person_key_b, by, reason)
    if _standing(con, a, b) is None:
        raise DecisionError(f"nothing is decided about {a} and {b}")
    _end(con, a, b, by, reason)


def waiting(con: duckdb.DuckDBPyConnection, limit: int) -> list[tuple[str, str, float]]:
    """The review queue, most probable first: two keys of records and the probability that they are one human.

    Pairs that the model would link, but a guard keeps apart, come first.
    """
    ensure_schema(con)
    return con.execute(
        f"""
        select person_key_a, person_key_b, {to_probability_sql("bits")}
        from identity.doubtful
        order by bits desc, 1, 2
        limit ?
        """,
        [limit],
    ).fetchall()


def sample(con: duckdb.DuckDBPyConnection, limit: int) -> list[tuple[str, str, str]]:
    """The next links to judge: two keys of records, and what ties them.

    Links come in the order of a hash of their keys, so whatever was judged from the top is a simple random sample of
    all links, and stays one as links come and go.
    """
    ensure_schema(con)
    return con.execute(
        """
        select person_key_a, person_key_b, evidence
        from identity.linked
        anti join identity.judgement using (person_key_a, person_key_b)
        order by md5(person_key_a || ' ' || person_key_b)
        limit ?
        """,
        [limit],
    ).fetchall()


def judge(con: duckdb.DuckDBPyConnection, one: str, other: str, by: str, *, is_same: bool) -> None:
    """Keep what somebody found about a link of the sample; a later judgement on the pair replaces it.

    Args:
        con: The warehouse.
        one: Key of one record: source and id.
        other: Key of the other.
        by: Who judged.
        is_same: Whether the two are one human.

    Raises:
        DecisionError: The two are not linked, or the name is missing.
    """
    ensure_schema(con)
    a, b = sorted((one, other))
    if not by.strip():
        raise DecisionError("a judgement needs the name of who judges")
    linked = con.execute(
        "select count(*) from identity.linked where person_key_a = ? and person_key_b = ?", [a, b]
    ).fetchall()[0][0]
    if not linked:
        raise DecisionError(f"{a} and {b} are no link of the sample; `cem identity sample` lists the next ones")
    con.execute("delete from identity.judgement where person_key_a = ? and person_key_b = ?", [a, b])
    con.execute("insert into identity.judgement values (?, ?, ?, ?, ?)", [a, b, is_same, by.strip(), utc_now()])


def _decide(con: duckdb.DuckDBPyConnection, kind: str, one: str, other: str, by: str, reason: str) -> None:
    ensure_schema(con)
    a, b = _checked(one, other, by, reason)
    known = {
        key
        for (key,) in con.execute(
            "select person_key from identity.record where person_key in (?, ?)", [a, b]
        ).fetchall()
    }
    for key in (a, b):
        if key not in known:
            raise DecisionError(f"{key} is no record of the last identity run; keys are <source>:<id>")
    standing = _standing(con, a, b)
    if standing == kind:
        raise DecisionError(f"that is decided already about {a} and {b}")
    if standing is not None:
        _end(con, a, b, by, reason)
    con.execute(
        "insert into identity.decision values (?, ?, ?, ?, ?, ?, ?, null, null, null, false)",
        [new_load_id(), kind, a, b, by.strip(), reason.strip(), utc_now()],
    )


def _checked(one: str, other: str, by: str, reason: str) -> tuple[str, str]:
    if one == other:
        raise DecisionError("one record cannot be two humans, nor be joined to itself; name two records")
    if not by.strip() or not reason.strip():
        raise DecisionError("a decision needs the name of who decides and a reason")
    a, b = sorted((one, other))
    return a, b


def _standing(con: duckdb.DuckDBPyConnection, a: str, b: str) -> str | None:
    row = con.execute(
        "select kind from identity.decision where person_key_a = ? and person_key_b = ? and undone_at is null", [a, b]
    ).fetchone()
    return None if row is None else str(row[0])


def _end(con: duckdb.DuckDBPyConnection, a: str, b: str, by: str, reason: str) -> None:
    con.execute(
        """
        update identity.decision
        set undone_by = ?, undo_reason = ?, undone_at = ?, is_applied = false
        where person_key_a = ? and person_key_b = ? and undone_at is null
        """,
        [by.strip(), reason.strip(), utc_now(), a, b],
    )
