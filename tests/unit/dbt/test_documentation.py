"""What the models say about themselves is true: every relation and column described, every mart typed and keyed.

The project is built without a row, from a source that has a table for every entity of the contract; what came to be
is compared with what the yml files say.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestration.analytics import sentiment
from orchestration.identity import state
from orchestration.settings import Settings, load_settings
from orchestration.sources.contract import load_contract
from orchestration.transform import build, failures_text, load_manifest, prepare
from orchestration.warehouse import connect

pytestmark = pytest.mark.xdist_group("documentation")

Node = dict[str, Any]
Columns = dict[str, str]

BOOKED = (
    "_key varchar, _row_hash ubigint, _cursor varchar, _source_file varchar, _source_row bigint, _load_id varchar,"
    " _loaded_at timestamp, _deleted_at timestamp"
)
KEYS_OF_SEVERAL_COLUMNS = {
    "mart_kpi_parts": "assert_kpi_cells_are_unique",
    "mart_cohort": "assert_grains_are_unique",
    "mart_funnel": "assert_grains_are_unique",
    "mart_basket_pair": "assert_grains_are_unique",
    "mart_survey_fatigue": "assert_grains_are_unique",
    "mart_journey_path": "assert_grains_are_unique",
    "mart_journey_transition": "assert_grains_are_unique",
    "mart_feedback_loop": "assert_grains_are_unique",
    "mart_segment": "assert_grains_are_unique",
    "mart_customer_360_history": "assert_grains_are_unique",
    "mart_channel_experience": "assert_grains_are_unique",
    "mart_subscription_survival": "assert_grains_are_unique",
    "mart_native_difference": "assert_grains_are_unique",
}
"""Marts whose key is more than one column, and the test that holds it unique."""
KEYS_OF_OTHERS = {"mart_kpi": ("mart_kpi_parts", "dim_metric")}
"""Marts that add columns to another, by a join on the key of a third."""
LOOKS_PERSONAL = re.compile(
    r"(^|_)(email|phone|name|comment|text|subject|body|street|postal_code|birth_date|handle)(_|$)"
)
NOT_PERSONAL = re.compile(r".*_(source|rule|count)")
"""Where a golden value came from and why it won; numbers."""
NAMES_OF_THINGS = {
    ("dim_metric", "name"),
    ("dim_product", "name"),
    ("fct_survey_invitation", "survey_name"),
    ("fct_survey_response", "survey_name"),
    ("fct_ticket", "group_name"),
    ("mart_load_quality", "table_name"),
    ("mart_load_rule", "table_name"),
}


@dataclass(frozen=True)
class Project:
    """The parsed project, and the columns of the relations it was built into."""

    manifest: dict[str, Any]
    built: dict[tuple[str, str], Columns]

    def nodes(self, kind: str) -> list[Node]:
        return [node for node in self.manifest["nodes"].values() if node["resource_type"] == kind]

    def marts(self) -> list[Node]:
        return [model for model in self.nodes("model") if model["schema"] == "marts"]

    def tests_of_columns(self, model: str) -> dict[str, set[str]]:
        """Names of the generic tests and constraints of a model, by column."""
        columns = self.manifest["nodes"][f"model.cem.{model}"]["columns"]
        found = {name: {held["type"] for held in column["constraints"]} for name, column in columns.items()}
        for test in self.nodes("test"):
            if test.get("attached_node") == f"model.cem.{model}" and test["column_name"]:
                found.setdefault(test["column_name"], set()).add(test["test_metadata"]["name"])
        return found


def source_of_everything() -> dict[str, Any]:
    """A source with one table for each entity, its columns named as the contract names them."""
    tables = [
        {
            "name": entity.plural,
            "files": f"{entity.plural}.csv",
            "key": next(iter(entity.columns)),
            "entity": name,
            "columns": {column: column for column in entity.columns},
        }
        for name, entity in load_contract().items()
    ]
    return {"name": "shop", "kind": "files", "tables": tables}


def create_inputs(settings: Settings) -> None:
    """The relations that models read and dbt does not make, without a row."""
    engine = settings.engine
    con = connect(settings.warehouse, settings.extensions, engine.memory_limit, engine.threads)
    state.ensure_schema(con)
    sentiment.ensure_schema(con)
    con.execute("create schema raw_shop")
    for entity in load_contract().values():
        columns = ", ".join(f'"{column}" varchar' for column in entity.columns)
        con.execute(f'create table raw_shop."{entity.plural}" ({columns}, {BOOKED})')
    con.close()


def columns_of(settings: Settings) -> dict[tuple[str, str], Columns]:
    """Columns and their types by schema and relation."""
    engine = settings.engine
    con = connect(settings.warehouse, settings.extensions, engine.memory_limit, engine.threads)
    rows = con.execute(
        "select table_schema, table_name, column_name, data_type from information_schema.columns"
        " order by table_schema, table_name, ordinal_position"
    ).fetchall()
    con.close()
    found: dict[tuple[str, str], Columns] = {}
    for schema, relation, column, data_type in rows:
        found.setdefault((schema, relation), {})[column] = normal_type(data_type)
    return found


def normal_type(data_type: str) -> str:
    return data_type.lower().replace(" ", "")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, extensions: Path) -> Project:
    """The whole project, parsed and built."""
    folder = tmp_path_factory.mktemp("documentation")
    home = folder / "home"
    home.mkdir()
    (home / "extensions").symlink_to(extensions)
    config = {
        "company": "Nobody yet",
        "reporting": {"time_zone": "UTC", "as_of": "2024-04-30"},
        "sources": [source_of_everything()],
    }
    (folder / "cem.yml").write_text(yaml.safe_dump(config))
    settings = load_settings(folder / "cem.yml", home)
    create_inputs(settings)
    prepare(settings)
    results = build(settings, ["--exclude-resource-type", "test"])
    assert results
    assert not failures_text(settings, results)
    return Project(load_manifest(settings), columns_of(settings))


def test_every_model_says_what_a_row_is(project: Project) -> None:
    models = project.nodes("model")
    assert len(models) > 90
    assert [model["name"] for model in models if not model["description"].startswith("One row")] == []


def test_documented_columns_are_the_columns_in_their_order(project: Project) -> None:
    for model in project.nodes("model"):
        relation = project.built[model["schema"], model["name"]]
        assert list(model["columns"]) == list(relation), model["name"]


def test_every_column_is_described_and_has_the_type_it_says(project: Project) -> None:
    wrong = []
    for model in project.nodes("model"):
        relation = project.built[model["schema"], model["name"]]
        for name, column in model["columns"].items():
            if not column["description"].strip():
                wrong.append((model["name"], name, "not described"))
            if normal_type(column["data_type"] or "") != relation[name]:
                wrong.append((model["name"], name, column["data_type"], relation[name]))
    assert wrong == []


def test_every_mart_is_public_under_an_enforced_contract(project: Project) -> None:
    marts = project.marts()
    assert len(marts) > 15
    for mart in marts:
        assert mart["access"] == "public", mart["name"]
        assert mart["contract"]["enforced"], mart["name"]
    assert all(model["access"] != "public" for model in project.nodes("model") if model not in marts)


def test_every_mart_has_a_tested_key(project: Project) -> None:
    singular = {test["name"]: test["depends_on"]["nodes"] for test in project.nodes("test")}
    without = []
    for mart in project.marts():
        name = mart["name"]
        if name in KEYS_OF_SEVERAL_COLUMNS:
            assert mart["unique_id"] in singular[KEYS_OF_SEVERAL_COLUMNS[name]], name
        elif name in KEYS_OF_OTHERS:
            rows, joined = KEYS_OF_OTHERS[name]
            assert rows in KEYS_OF_SEVERAL_COLUMNS
            assert mart["depends_on"]["nodes"] == [f"model.cem.{rows}", f"model.cem.{joined}"], name
            assert has_key(project, joined), joined
        elif not has_key(project, name):
            without.append(name)
    assert without == []


def has_key(project: Project, model: str) -> bool:
    return any("primary_key" in tests for tests in project.tests_of_columns(model).values())


def test_columns_of_marts_that_look_personal_say_what_they_hold(project: Project) -> None:
    kinds = {column.personal for entity in load_contract().values() for column in entity.columns.values()} - {None}
    unmarked, not_needed = set(), set(NAMES_OF_THINGS)
    for mart in project.marts():
        for name, column in mart["columns"].items():
            personal = column["config"].get("meta", {}).get("personal")
            assert personal is None or personal in kinds, (mart["name"], name, personal)
            if personal is None and LOOKS_PERSONAL.search(name) and not NOT_PERSONAL.fullmatch(name):
                unmarked.add((mart["name"], name))
                not_needed.discard((mart["name"], name))
    assert unmarked - NAMES_OF_THINGS == set()
    assert not_needed == set(), "an exception that no column needs"


def test_what_the_contract_calls_personal_is_personal_in_the_fact_of_its_entity(project: Project) -> None:
    marts = {mart["name"]: mart["columns"] for mart in project.marts()}
    compared = set()
    for entity, described in load_contract().items():
        for name in marts.get(f"fct_{entity}", {}).keys() & described.columns.keys():
            personal = marts[f"fct_{entity}"][name]["config"].get("meta", {}).get("personal")
            assert personal == described.columns[name].personal, (entity, name)
            compared |= {(entity, name)} if personal else set()
    assert compared >= {("opportunity", "owner_id"), ("subscription", "end_reason"), ("mention", "text")}


def test_sources_and_exposures_are_described(project: Project) -> None:
    sources, exposures = project.manifest["sources"].values(), project.manifest["exposures"].values()
    assert {source["source_name"] for source in sources} >= {"raw_shop", "identity", "ops"}
    assert exposures
    for source in sources:
        assert source["source_description"].strip(), source["unique_id"]
        assert source["description"].startswith("One row"), source["unique_id"]
    for exposure in exposures:
        assert exposure["description"].strip(), exposure["unique_id"]
        assert exposure["owner"]["name"], exposure["unique_id"]


def test_documented_columns_of_sources_are_those_of_their_tables(project: Project) -> None:
    for source in project.manifest["sources"].values():
        relation = project.built[source["schema"], source["name"]]
        if source["source_name"].startswith("raw_"):  # as wide as the source; the contract describes what is read
            continue
        assert list(source["columns"]) == list(relation), source["name"]
        for name, column in source["columns"].items():
            assert column["description"].strip(), (source["name"], name)
            assert normal_type(column["data_type"]) == relation[name], (source["name"], name)


def test_every_mart_has_a_known_reader(project: Project) -> None:
    read = {node for exposure in project.manifest["exposures"].values() for node in exposure["depends_on"]["nodes"]}
    assert {mart["unique_id"] for mart in project.marts()} - read == set()
