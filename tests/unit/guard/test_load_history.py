"""A load beside the loads before it: another scale, missing values, lost references, ids that are taken, volumes."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from guarded_shop import Shop, order, person

from orchestration.guard import discard, held_loads, release
from orchestration.guard.results import Verdict
from orchestration.settings import EntityMapping, Guard
from orchestration.warehouse import utc_now

SCORES = {"response_id": {"column": "no"}, "question_id": {"column": "question"}, "score": {"column": "score"},
          "comment": {"column": "comment"}, "answered_at": {"column": "at"}}  # fmt: skip


@pytest.fixture
def survey(shop: Shop) -> Shop:
    """A shop that also asks: six daily loads of answers from 0 to 10."""
    asked = shop.with_table(key=("no",), entities=(EntityMapping(entity="response", columns=SCORES),))
    for day in range(7):
        assert asked.load(answers(day, [0, 3, 6, 7, 8, 8, 9, 9, 10, 10])).status == "promoted"
    return asked


def answers(day: int, scores: Sequence[int], comments: int = 60) -> list[dict[str, object]]:
    return [
        {
            "no": f"{day}-{number}",
            "question": "q1",
            "score": str(scores[(number * 7 + day) % len(scores)]),
            "comment": "fine" if number < comments else None,
            "at": f"2024-03-{day + 1:02d} 10:00:00",
        }
        for number in range(120)
    ]


def held(verdict: Verdict, rule: str) -> str:
    assert verdict.status == "held"
    assert {result.rule_id for result in verdict.rules if result.failed and result.severity == "critical"} == {rule}
    return verdict.reason or ""


def test_scores_on_another_scale_hold_the_load(survey: Shop):
    reason = held(survey.load(answers(8, [1, 2, 3, 4, 4, 5, 5, 5])), "load.mix_plausible")
    assert "response.score" in reason
    assert "another scale" in reason


def test_scores_as_ever_pass_without_a_word(survey: Shop):
    assert survey.load(answers(8, [0, 5, 6, 7, 8, 8, 9, 9, 10, 10])).reason is None


def test_a_column_that_is_suddenly_empty_holds_the_load(survey: Shop):
    reason = held(survey.load(answers(8, [0, 3, 6, 7, 8, 8, 9, 9, 10, 10], comments=0)), "load.fill_plausible")
    assert "response.comment is empty in 100% of the rows, where 50% is usual" in reason


def test_what_was_released_is_usual_from_then_on_and_what_was_discarded_is_not(survey: Shop):
    other = [1, 2, 3, 4, 4, 5, 5, 5]
    survey.load(answers(8, other))
    discard(survey.con, survey.settings, held_loads(survey.con)[0].load_id, "shop", "orders", "Ada", "wrong export")
    assert survey.load(answers(9, other)).status == "held"
    for day in range(10, 13):
        verdict = survey.load(answers(day, other))
        if verdict.status == "held":
            load = held_loads(survey.con)[0]
            release(survey.con, survey.settings, load.load_id, "shop", "orders", "Ada", "new scale")
    outcomes = dict(survey.con.execute("select load_id, outcome from ops.load_facts").fetchall())
    assert "discarded" in outcomes.values()
    assert list(outcomes.values()).count("released") >= 1
    assert survey.load(answers(14, other)).status == "promoted"


def test_columns_may_look_as_they_like_where_told_so(survey: Shop):
    free = survey.with_table(guard=Guard(columns="off"))
    assert free.load(answers(8, [1, 2, 3, 4, 5])).status == "promoted"


# References


def test_references_without_a_record_are_kept_told_and_held_when_their_share_jumps(shop: Shop):
    shop.load([person(number) | {"id": f"c{number}"} for number in range(200)], "people")

    def orders(day: int, strangers: int) -> list[dict[str, object]]:
        return [
            order(day * 1000 + number, customer=f"c{number}" if number >= strangers else f"x{day}-{number}",
                  at=f"2024-03-{day + 1:02d} 10:00:00", delivered=None)
            for number in range(100)
        ]  # fmt: skip

    for day in range(7):
        verdict = shop.load(orders(day, 2 if day else 0))
        assert verdict.status == "promoted"
        told = "2 of 100 values of order.person_id find no person here" in (verdict.reason or "")
        assert told is (day > 0)
    reason = held(shop.load(orders(8, 50)), "load.orphans_plausible")
    assert "50 of 100 values of order.person_id (50%) find no person here" in reason
    # The record arrives: nothing is missing any more.
    shop.load([person(900 + number) | {"id": f"x8-{number}"} for number in range(50)], "people")
    assert shop.load(orders(8, 50)).reason is None


def test_a_child_before_its_parent_on_the_first_load_is_no_orphan(shop: Shop):
    shop.deliver([person(number) | {"id": f"c{number}"} for number in range(7)], "people")
    assert shop.load([order(number) for number in range(60)]).reason is None


def test_references_to_what_is_not_loaded_at_all_say_nothing(shop: Shop):
    assert shop.load([order(number) for number in range(60)]).reason is None


# Ids


def test_an_id_that_another_record_has_is_quarantined_and_a_correction_is_not(shop: Shop):
    by_line = shop.with_table(key=("line",))
    by_line.load([order(1, line="1"), order(2, line="2")])
    verdict = by_line.load([order(1, line="7", total="99"), order(3, line="8")])
    assert (verdict.promoted, verdict.quarantined) == (1, 1)
    assert by_line.quarantined() == {
        "7": ["record: has an id that another record of the table already has [record.id_not_taken]"]
    }
    # Lines that move within a file take their ids along.
    assert by_line.load([order(2, line="1"), order(1, line="2")]).promoted == 2


# Volume, through the guard


def backdate(shop: Shop, days: int) -> None:
    shop.con.execute(
        f"update ops.load_facts set read_at = read_at - to_days({days}), through = through - to_days({days})"
    )


def test_a_table_that_always_brings_rows_and_brings_none_or_half_is_held(shop: Shop):
    increments = shop.with_table(files=(), cursor="changed", guard=Guard(columns="off"))
    columns = [*order(1), "changed"]

    def rows(day: int, count: int) -> list[dict[str, object]]:
        at = utc_now().isoformat(sep=" ")
        return [order(day * 1000 + number, at=at, delivered=None, changed=f"{day:04d}") for number in range(count)]

    assert increments.load(rows(0, 500)).status == "promoted"
    for day in range(1, 22):
        backdate(increments, 1)
        assert increments.load(rows(day, 100 + day % 3)).status == "promoted"
    # The same run again brings nothing, and that is fine.
    assert increments.load([], columns=columns).status == "unchanged"
    backdate(increments, 1)
    reason = held(increments.load([], columns=columns), "load.volume_not_below")
    assert reason.startswith("0 rows came in the day up to")
    held(increments.load(rows(30, 230)), "load.volume_not_above")
    assert increments.load(rows(31, 104)).status == "promoted"
    off = increments.with_table(guard=Guard(volume="off"))
    backdate(off, 1)
    assert off.load([], columns=columns).status == "unchanged"
