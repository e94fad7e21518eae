"""What a run that built nothing need not work out again, and when it must."""

from itertools import count

import pytest

from orchestration import builds
from orchestration.stages import MODEL, UNIFY

CONFIG = """
sources:
  - {name: demo, kind: demo, customers: 1000}
"""


@pytest.fixture
def marts(warehouse):
    """A warehouse whose marts a run has built, and a way to look into them that tells how often it was used."""
    build(warehouse)
    looks = count(1)
    return lambda depends_on="": builds.find(warehouse, "a figure", depends_on, lambda: {"look": next(looks)})


def build(warehouse):
    warehouse.execute(
        "insert or replace into ops.builds (stage, fingerprint, built_at, basis) "
        "values ('model', 'of these loads', now()::timestamp, 'code')"
    )


def test_marts_that_no_run_built_again_are_not_read_again(marts):
    assert marts() == marts() == {"look": 1}


def test_marts_that_were_built_again_are_read_again(warehouse, marts):
    marts()
    build(warehouse)
    assert marts() == {"look": 2}


def test_another_question_reads_the_marts(marts):
    marts()
    assert marts("another suite") == {"look": 2}


def test_a_build_that_did_not_end_may_have_changed_marts(warehouse, marts, write_config):
    marts()
    builds.begin(warehouse, write_config(CONFIG), MODEL)
    assert marts() == {"look": 2}


def test_marts_that_somebody_may_have_changed_by_hand_are_read_again(warehouse, marts):
    marts()
    builds.forget_models(warehouse)
    assert marts() == {"look": 2}


def test_marts_that_no_run_built_are_read_each_time(warehouse, marts):
    warehouse.execute("delete from ops.builds")
    assert (marts(), marts()) == ({"look": 1}, {"look": 2})


@pytest.fixture
def recorded(warehouse, write_config):
    """The configuration of a warehouse of which a run has built everything."""
    settings = write_config(CONFIG)
    warehouse.execute("""
        create schema intermediate;
        create table intermediate.int_as_of__resolved as select timestamp '2026-03-01 12:00:00' as as_of_at;
        create table intermediate.int_reference__hashed as
        select 'product' as entity, 'shop:1' as record_key, 1 as content;
        create schema sentiment;
        create table sentiment.model as select 'en' as language, 'first' as scorer, 7 as text_count;
        insert into ops.removed_records values ('order', 'shop:7', null);
    """)
    for stage in (UNIFY, MODEL):
        builds.begin(warehouse, settings, stage)
        builds.record(warehouse, settings, stage)
    return settings


def test_models_follow_what_changed_since_they_were_built(warehouse, recorded):
    assert builds.is_up_to_date(warehouse, recorded, MODEL)
    assert builds.begin(warehouse, recorded, MODEL)


def test_what_was_removed_is_kept_until_the_models_know(warehouse, recorded):
    warehouse.execute("insert into ops.removed_records values ('order', 'shop:8', null)")
    builds.record(warehouse, recorded, UNIFY)
    assert warehouse.execute("from ops.removed_records").fetchall() == [("order", "shop:8", None)]
    builds.record(warehouse, recorded, MODEL)
    assert warehouse.execute("from ops.removed_records").fetchall() == []


def test_what_references_told_is_remembered_and_followed(warehouse, recorded):
    warehouse.execute("update intermediate.int_reference__hashed set content = 2")
    assert builds.begin(warehouse, recorded, MODEL)
    assert warehouse.execute("from ops.built_references").fetchall() == [("product", "shop:1", 1)]
    builds.record(warehouse, recorded, MODEL)
    assert warehouse.execute("from ops.built_references").fetchall() == [("product", "shop:1", 2)]


def test_texts_that_are_judged_otherwise_have_all_models_built_anew(warehouse, recorded):
    warehouse.execute("update sentiment.model set text_count = 8")
    assert builds.begin(warehouse, recorded, MODEL)
    warehouse.execute("update sentiment.model set scorer = 'second'")
    assert not builds.begin(warehouse, recorded, MODEL)


def test_marts_of_which_some_were_built_by_hand_are_built_anew(warehouse, recorded):
    builds.forget_models(warehouse)
    assert not builds.begin(warehouse, recorded, MODEL)


def test_a_decision_on_identity_is_followed(warehouse, recorded):
    builds.forget(warehouse)
    assert not builds.is_up_to_date(warehouse, recorded, MODEL)
    assert builds.begin(warehouse, recorded, MODEL)


@pytest.mark.parametrize(
    ("setting", "is_followed"),
    [
        ("engine: {memory_limit: 1GB}", True),
        ('schedule: {cron: "0 1 * * *"}', True),
        ("publish: {keep_versions: 9}", True),
        ("reporting: {currency: SEK}", False),
        ("kpis: {inactive_after_days: 30}", False),
    ],
)
def test_only_settings_that_rows_depend_on_have_all_models_built_anew(
    warehouse, recorded, write_config, setting, is_followed
):
    assert builds.begin(warehouse, write_config(CONFIG + setting), MODEL) is is_followed


def test_an_installation_that_was_moved_follows_what_changed(warehouse, recorded, tmp_path):
    moved = recorded.model_copy(update={"home": tmp_path / "elsewhere", "config_path": tmp_path / "other.yml"})
    assert builds.begin(warehouse, moved, MODEL)
