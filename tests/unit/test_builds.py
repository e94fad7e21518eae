"""What a run that built nothing need not work out again, and when it must."""

from itertools import count

import pytest

from orchestration import builds
from orchestration.stages import MODEL

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
    warehouse.execute("insert or replace into ops.builds values ('model', 'of these loads', now()::timestamp, 'code')")


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
    builds.forget_findings(warehouse)
    assert marts() == {"look": 2}


def test_marts_that_no_run_built_are_read_each_time(warehouse, marts):
    builds.forget(warehouse)
    assert (marts(), marts()) == ({"look": 1}, {"look": 2})
