"""A held load as people meet it: the run stops, readers are told, somebody decides in the UI, the next run goes on."""

import os

import dagster as dg
import duckdb
import pytest
from demo_company import build_models, shop_orders

from orchestration.cli import main
from orchestration.definitions import build_defs
from orchestration.defs import transform as transform_step
from orchestration.settings import load_settings

pytestmark = pytest.mark.xdist_group("hold")


class Company:
    """A state folder with its definitions, and one Dagster instance for all its runs."""

    def __init__(self, folder):
        self.folder = folder
        self.settings = load_settings(folder / "cem.yml", folder / "var")
        self.defs = build_defs(self.settings)
        self.instance = dg.DagsterInstance.ephemeral()

    def deliver(self, name, numbers, total="7.50"):
        (self.folder / "in" / name).write_text(shop_orders(numbers, total))

    def run(self, job="daily", **config):
        ops = {next(iter(OPS[job])): {"config": config}} if config else {}
        return self.defs.resolve_job_def(job).execute_in_process(
            instance=self.instance, raise_on_error=False, run_config={"ops": ops}
        )

    def run_step(self, step):
        """Materialize what one step makes, as from the UI."""
        keys = next(a for a in self.defs.assets if hasattr(a, "op") and step in a.op.name).keys
        return self.defs.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=self.instance, raise_on_error=False, asset_selection=list(keys)
        )

    def check(self, key):
        """Run only the checks of an asset, as from the UI."""
        return dg.materialize(
            self.defs.assets,
            selection=dg.AssetSelection.checks_for_assets(key),
            instance=self.instance,
            raise_on_error=False,
        )

    def ask(self, sql):
        with duckdb.connect(str(self.settings.published / "cem.duckdb"), read_only=True) as con:
            return con.execute(sql).fetchall()

    def warehouse(self, sql):
        with duckdb.connect(str(self.settings.warehouse), read_only=True) as con:
            return con.execute(sql).fetchall()

    def command(self, *arguments):
        os.environ["CEM_CONFIG"], os.environ["CEM_HOME"] = str(self.folder / "cem.yml"), str(self.settings.home)
        try:
            return main(arguments)
        finally:
            del os.environ["CEM_CONFIG"], os.environ["CEM_HOME"]


OPS = {
    "release_load": ["release"],
    "discard_load": ["discard"],
    "replay_quarantine": ["replay"],
    "inspect_loads": ["list_loads_and_quarantine"],
}
MARK = "select version, is_stale, stale_reason, held_loads from marts._publication"


@pytest.fixture(scope="module")
def company(shop, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hold")
    shop.copy(folder)
    copied = Company(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transform_step, "build", build_models)
        yield copied
    copied.instance.dispose()


def failures(result):
    return {
        event.step_key: event.step_failure_data.user_failure_data.description
        for event in result.get_step_failure_events()
    }


def test_a_held_load_is_decided_on_in_the_ui(company, capsys):
    assert company.ask(MARK) == [(1, False, None, 0)]
    orders = "select count(*) from marts.fct_order"
    assert company.ask(orders) == [(59,)]

    # The second delivery is bad enough to be held: nothing is built, readers are told.
    company.deliver("orders_2.csv", range(100, 130), total="-1")
    company.deliver("orders_3.csv", range(130, 160))
    result = company.run()
    assert list(failures(result)) == ["load_shop"]
    assert "stay up, marked as stale" in failures(result)["load_shop"]
    assert company.ask(MARK) == [(1, True, "loads are held: shop.orders", 1)]
    [seen] = company.instance.fetch_observations(dg.AssetKey(["published", "marts"]), limit=5).records
    assert seen.asset_observation.metadata["is_stale"].value is True

    # By hand dbt builds what was promoted, and publishes nothing; no step works on while the load waits.
    assert company.command("dbt", "build", "-s", "fct_order", "--quiet") == 0
    assert company.warehouse(orders) == company.ask(orders) == [(59,)]
    for step in ("resolve_identity", "fit_clv", "publish_marts", "dbt_model"):
        assert "shop.orders: 30 of 60 rows are bad" in failures(company.run_step(step))[step], step
    assert company.ask(MARK)[0][0] == 1

    # The command line shows the same as the job that lists loads.
    assert company.command("load", "list") == 0
    shown = capsys.readouterr().out
    assert "STALE" in shown and "shop.orders" in shown
    listed = company.run("inspect_loads")
    assert listed.success
    [(load_id,)] = company.warehouse("select load_id from ops.loads where status = 'held'")
    logged = "".join(entry.message for entry in company.instance.all_logs(listed.run_id))
    assert load_id in logged and "30 of 60 rows are bad" in logged

    # Nobody decides without a name, or on a load that is not held.
    decision = {"load_id": load_id, "source": "shop", "table": "orders", "by": "Ada", "reason": "refunds"}
    refused = company.run("release_load", **(decision | {"load_id": "nothing"}))
    assert f"held: {load_id} shop.orders" in failures(refused)["release"]
    with pytest.raises(dg.DagsterInvalidConfigError):
        company.defs.resolve_job_def("release_load").execute_in_process(
            run_config={"ops": {"release": {"config": {"load_id": load_id}}}}
        )
    assert not company.run("release_load", **(decision | {"by": ""})).success

    assert company.run("release_load", **decision).success
    assert company.ask(MARK) == [(1, True, "held loads were decided on and the next run publishes: shop.orders", 0)]
    # Of the rows it left in quarantine some come back mended.
    keys = ["o100", "o101"]
    assert company.run(
        "replay_quarantine", source="shop", table="orders", keys=keys, changes={"total": "3"}, by="Bo"
    ).success


def test_a_discarded_load_leaves_the_mark(company):
    company.deliver("orders_4.csv", range(200, 260), total="-1")
    assert not company.run().success
    [(load_id,)] = company.warehouse("select load_id from ops.loads where status = 'held'")
    decision = {"load_id": load_id, "source": "shop", "table": "orders", "by": "Cy", "reason": "a test"}
    assert company.run("discard_load", **decision).success
    assert [row[:2] for row in company.ask(MARK)] == [(1, True)]


def test_the_next_run_publishes_what_was_released_and_nothing_of_what_was_discarded(company):
    result = company.run()
    assert result.success
    assert "did not yield" not in "".join(entry.message for entry in company.instance.all_logs(result.run_id))
    assert company.ask(MARK) == [(2, False, None, 0)]
    assert company.ask("select count(*) from marts.fct_order") == [(91,)]
    assert company.ask("select sum(amount) from marts.fct_order where order_id in ('o100', 'o101')") == [(6,)]
    counts = "extracted, promoted, quarantined, quarantine_open_count, worst_rule_id"
    decided = "held_count, released_count, discarded_count, held_back"
    assert company.ask(f"select {decided}, {counts} from marts.mart_load_quality") == [
        (2, 1, 1, 60, 181, 91, 30, 28, "load.rows_mostly_good")
    ]
    assert company.warehouse("select kind, decided_by, reason, row_count from ops.decisions order by decided_at") == [
        ("release", "Ada", "refunds", 60),
        ("replay", "Bo", "picked by key, after a change of total", 2),
        ("discard", "Cy", "a test", 60),
    ]


def test_checks_alone_publish_nothing_and_a_load_has_none_without_its_rows(company):
    before, marts = company.ask(MARK), dg.AssetKey(["published", "marts"])
    checked = company.check(marts)
    assert checked.success
    assert len(checked.get_asset_check_evaluations()) > 300
    assert not checked.get_asset_materialization_events()
    assert company.ask(MARK) == before
    assert "only checks were asked for" in failures(company.check(dg.AssetKey(["raw_shop", "orders"])))["load_shop"]


def test_rows_that_somebody_doubled_are_refused_at_once_and_deleted_by_hand(company):
    with duckdb.connect(str(company.settings.warehouse)) as con:
        con.execute(
            "insert into raw_shop.orders select * replace ('by hand' as _load_id) from raw_shop.orders "
            "where id in ('o1', 'o2', 'o3')"
        )
    loads = company.warehouse("select count(*) from ops.loads")
    company.deliver("orders_1.csv", range(1, 60), total="8")
    result = company.run_step("load_shop")
    assert "a key occurs twice there, which no load does; nothing was changed" in failures(result)["load_shop"]
    # To try the same again in a moment cannot help.
    assert not [event for event in result.all_events if event.event_type is dg.DagsterEventType.STEP_UP_FOR_RETRY]
    assert company.warehouse("select count(*) from ops.loads") == loads
    with duckdb.connect(str(company.settings.warehouse)) as con:
        con.execute("delete from raw_shop.orders where _load_id = 'by hand'")
    assert company.run_step("load_shop").success
    assert company.warehouse("select count(*), min(total) from raw_shop.orders where id in ('o1', 'o2')") == [(2, "8")]
