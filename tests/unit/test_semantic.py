"""Figures from the semantic layer: whatever it offers can be asked for, weeks as cem.yml has them."""

import pytest

from orchestration import semantic
from orchestration.semantic import Question, SemanticError, SemanticLayer
from orchestration.settings import Reporting, load_settings
from orchestration.warehouse import writing

pytestmark = pytest.mark.xdist_group("semantic")

CONFIG = """
kpis: {suppressed_below: 1}
sources:
  - {name: demo, kind: demo, customers: 130, seed: 3}
"""


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """A prepared state folder, whose warehouse has nothing but six answers on three days."""
    folder = tmp_path_factory.mktemp("semantic")
    (folder / "cem.yml").write_text(CONFIG)
    found = load_settings(folder / "cem.yml", folder / "var")
    with writing(found) as con:
        con.execute("""
            create schema intermediate;
            create table intermediate.int_kpi_survey__observed as
                select date '2024-05-03' + (range % 3)::int as observed_date, 'csat' as metric, true as is_counted,
                    if(range < 4, 1, 0) as value, if(range % 2 = 0, 'north', 'south') as region, 'C1' as customer_id,
                    'email' as channel, 'a' as segment, 'a' as product_line, 'a' as survey
                from range(6);
        """)
    return found


@pytest.fixture(scope="module")
def layer(settings):
    return SemanticLayer(settings)


def test_all_that_is_listed_as_a_dimension_can_be_asked_for(layer):
    dimensions = layer.dimensions(["csat"])
    assert {"metric_time", "survey_record__observed_date", "survey_record__region"} <= set(dimensions)
    for dimension in dimensions:
        assert sum(row[-1] for row in layer.answer(Question(["csat"], [dimension])).fetchall()) == 6, dimension


def test_groups_come_first_in_the_order_asked_for(layer):
    answer = layer.answer(Question(["csat"], ["survey_record__region", "metric_time__month"]))
    assert answer.columns == ["survey_record__region", "metric_time__month", "csat", "csat_n"]
    assert [(region, value, n) for region, _, value, n in answer.fetchall()] == [
        ("north", 2 / 3, 3),
        ("south", 2 / 3, 3),
    ]
    assert layer.answer(Question(["csat"])).fetchall() == [(4 / 6, 6)]


@pytest.mark.parametrize(
    "question",
    [
        Question(["csat"], ["metric_time__week"]),
        Question(["csat"], ["survey_record__observed_date__week", "survey_record__region"]),
        Question(["csat"], where=["{{ TimeDimension('metric_time', 'week') }} >= '2024-05-01'"]),
    ],
)
def test_weeks_that_are_not_those_of_the_settings_are_refused(settings, layer, question, monkeypatch):
    monkeypatch.setattr(semantic, "prepare", lambda settings: None)
    saturday = settings.model_copy(update={"reporting": Reporting(week_start="saturday")})
    other = SemanticLayer(saturday)
    with pytest.raises(SemanticError, match=r"weeks begin on saturday.*mart_kpi"):
        other.sql(question)
    assert layer.answer(question).fetchall()
    assert other.sql(Question(["csat"], ["metric_time__day"]))
