"""What the Dagster UI shows: each asset in its stage, described by its grain, with its checks; the schedule."""

import os
import shutil
from pathlib import Path

import dagster as dg
import pytest

from orchestration import transform
from orchestration.definitions import build_defs
from orchestration.defs.load import HOLD_CHECK
from orchestration.guard.suites import mart_suites
from orchestration.publication import mart_specs
from orchestration.settings import load_settings
from orchestration.stages import STAGES
from orchestration.transform import build, load_manifest, manifest_path, prepare, target_path

CONFIG = """
company: Test
reporting: {time_zone: Europe/Lisbon}
schedule: {cron: "30 2 * * *", time_zone: Europe/Lisbon}
sources:
  - {name: demo, kind: demo, customers: 1000}
"""


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("defs")
    (folder / "cem.yml").write_text(CONFIG)
    return load_settings(folder / "cem.yml", folder / "var")


@pytest.fixture(scope="module")
def defs(settings):
    return build_defs(settings)


@pytest.fixture(scope="module")
def graph(defs):
    return defs.resolve_asset_graph()


def test_every_published_mart_is_guarded(settings, defs):
    published = {mart.name for mart in mart_specs(load_manifest(settings))}
    assert {suite.name for suite in mart_suites()} == published, "one expectations/marts/<mart>.json per published mart"


def test_half_a_manifest_that_a_killed_run_left_stops_no_later_one(settings, defs):
    left = target_path(settings) / "manifest.json"
    os.truncate(left, left.stat().st_size // 2)
    prepare(settings)
    assert load_manifest(settings)["nodes"]


def test_an_installation_that_was_moved_builds_without_parsing_anew(settings, defs, tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("moved")
    shutil.copytree(settings.home, folder / "var")
    shutil.copy(settings.home.parent / "cem.yml", folder)
    moved = load_settings(folder / "cem.yml", folder / "var")
    commands = []

    def call(settings, arguments, manifest):
        commands.append(arguments[0])
        return called(settings, arguments, manifest)

    called = transform._call
    monkeypatch.setattr(transform, "_call", call)
    monkeypatch.setattr(transform, "_manifests", {})  # as in a new process
    prepare(moved)
    results = build(moved, ["--select", "persona_rule"])
    assert {result.status for result in results} == {"success", "pass"}
    assert commands == ["build"]


def test_what_is_kept_of_a_parse_is_made_anew_where_it_is_damaged(settings, defs, monkeypatch):
    kept = sorted(manifest_path(settings).parent.glob("*.*"))
    assert {path.suffix for path in kept} == {".json", ".msgpack"}
    for path in kept:
        os.truncate(path, path.stat().st_size // 2)
    monkeypatch.setattr(transform, "_manifests", {})
    assert {result.status for result in build(settings, ["--select", "persona_rule"])} == {"success", "pass"}
    assert load_manifest(settings)["nodes"]


@pytest.mark.parametrize("depth", [1, 3, 4, 9])
def test_dbt_writes_inside_the_state_folder_however_deep_the_checkout_is(settings, monkeypatch, depth):
    project = Path("/", *"abcdefghi"[:depth])
    monkeypatch.setattr(transform, "PROJECT", project)
    compiled = target_path(settings) / "compiled" / "cem" / os.path.relpath(settings.dbt_models, project)
    assert Path(os.path.normpath(compiled)).is_relative_to(settings.home / "dbt")


def own_assets(graph):
    return [graph.get(key) for key in graph.materializable_asset_keys]


def test_every_asset_is_in_a_stage(graph):
    assert {asset.group_name for asset in own_assets(graph)} == set(STAGES)


def test_every_asset_says_its_grain_and_kind(graph):
    for asset in own_assets(graph):
        assert asset.description, asset.key
        assert asset.description.startswith(("One row per", "One row:", "One row ", "One version")), (
            asset.key,
            asset.description[:60],
        )
        assert asset.kinds, asset.key


def test_raw_unify_model_and_publish_hang_together(graph):
    def ancestors(key):
        found, todo = set(), [key]
        while todo:
            for parent in graph.get(todo.pop()).parent_keys - found:
                found.add(parent)
                todo.append(parent)
        return found

    upstream = ancestors(dg.AssetKey(["published", "marts"]))
    for key in (
        ["candidate_demo_crm", "people"],
        ["raw_demo_crm", "people"],
        ["staging", "stg_demo_crm__persons"],
        ["identity", "customer_xref"],
        ["marts", "mart_customer_360"],
        ["marts", "mart_kpi"],
        ["marts", "mart_clv"],
    ):
        assert dg.AssetKey(key) in upstream, key


def test_guard_rules_and_dbt_tests_are_checks(graph):
    checks = {key.asset_key for key in graph.asset_check_keys}
    assert dg.AssetKey(["raw_demo_crm", "people"]) in checks
    assert dg.AssetKey(["marts", "dim_customer"]) in checks
    assert dg.AssetKey(["published", "marts"]) in checks


def test_marts_carry_column_descriptions(graph):
    asset = graph.get(dg.AssetKey(["marts", "mart_customer_360"]))
    schema = asset.metadata["dagster/column_schema"]
    assert len(schema.columns) > 20
    assert all(column.description for column in schema.columns)


def test_the_schedule_runs_the_whole_path_in_its_time_zone(defs):
    schedule = defs.resolve_schedule_def("daily_schedule")
    assert schedule.cron_schedule == "30 2 * * *"
    assert schedule.execution_timezone == "Europe/Lisbon"
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
    job = defs.resolve_job_def("daily")
    assert {node.name for node in job.nodes} >= {"dbt_unify", "resolve_identity", "dbt_model", "publish_marts"}


def test_extraction_is_retried_and_published_marts_have_a_freshness_policy(defs, graph):
    policy = defs.resolve_job_def("daily").get_node_named("load_demo_crm").definition.retry_policy
    assert policy.max_retries >= 2
    assert policy.backoff is not None
    assert graph.get(dg.AssetKey(["marts", "mart_kpi"])).freshness_policy is not None
    assert graph.get(dg.AssetKey(["published", "marts"])).freshness_policy is not None


def test_only_the_check_that_is_an_output_of_its_step_blocks(defs):
    blocking = {
        spec.name
        for step in defs.assets
        if isinstance(step, dg.AssetsDefinition)
        for spec in step.check_specs
        if spec.blocking
    }
    assert blocking == {HOLD_CHECK}


def test_no_asset_metadata_holds_a_secret(settings, graph):
    shown = {
        f"{asset.key}: {name}": str(value)
        for asset in own_assets(graph)
        for name, value in asset.metadata.items()
        if name != "dagster_dbt/manifest"  # the same for all, which takes long to be written out
    } | {"manifest": manifest_path(settings).read_text()}
    assert len(shown) > len(own_assets(graph))
    assert not [name for name, value in shown.items() if "password" in value.lower()]
