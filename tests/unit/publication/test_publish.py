"""Publishing: what readers find, when nothing is written, and what a failure leaves."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import duckdb
import pytest

from orchestration import space
from orchestration.publication import MartColumn, MartSpec, PublicationError, publish, writer
from orchestration.space import SpaceError


def published_bytes(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_readers_find_every_mart_with_its_description(warehouse, settings, read, marts):
    publication = publish(warehouse, settings, "run-1", marts)

    assert (publication.version, publication.changed, publication.rows) == (1, True, 201)
    assert publication.row_counts == {"dim_customer": 200, "mart_kpi_parts": 1}
    assert read("select count(*), count(distinct email) from cem.marts.dim_customer") == [(200, 200)]
    assert read("select metric, value from cem.marts.mart_kpi") == [("nps", 0.41)]
    assert read("select table_name, comment from duckdb_tables() where schema_name = 'marts' order by 1") == [
        ("_publication", "One row: which publication this is."),
        ("dim_customer", "One row per customer."),
        ("mart_kpi_parts", "One row per metric."),
    ]
    assert read("select comment from duckdb_views() where view_name = 'mart_kpi'") == [(marts[2].description,)]
    assert read("select comment from duckdb_columns() where column_name = 'value' and table_name = 'mart_kpi'") == [
        ("Value of the metric.",)
    ]
    assert publication.path.stat().st_size > 0 and not list(settings.published.glob("*.tmp*"))


def test_the_file_says_which_publication_it_is(warehouse, settings, read, marts):
    publish(warehouse, settings, "run-7", marts)

    assert read(
        "select version, run_id, as_of_at::text, as_of_date::text, is_stale, held_loads, stale_reason, "
        "personal_data, company, time_zone, currency, row_count from cem.marts._publication"
    ) == [
        (
            1,
            "run-7",
            "2024-05-01 12:00:00",
            "2024-05-01",
            True,
            1,
            "loads are held: crm.people",
            "masked",
            "Acme",
            "Asia/Tehran",
            "IRR",
            201,
        )
    ]
    assert warehouse.execute("select version, run_id, row_count from ops.publications").fetchall() == [
        (1, "run-7", 201)
    ]


def test_the_load_summary_counts_without_personal_data(warehouse, settings, read, marts):
    publish(warehouse, settings, "run-1", marts)

    assert read(
        "select source, table_name, status, last_load_at::text, last_promoted_at::text, row_count, "
        "promoted, quarantined, deduplicated, quarantine_open from cem.ops.load_summary"
    ) == [
        ("crm", "people", "held", "2024-05-02 01:01:00", "2024-05-01 01:01:00", 199, 0, 0, 0, 1),
        ("help", "tickets", "promoted", "2024-05-02 01:02:00", "2024-05-02 01:02:00", 0, 5, 0, 1, 0),
    ]


@pytest.mark.parametrize("name", ["marts.duckdb", "cem.duckdb"])
def test_the_file_can_be_opened_under_both_names(warehouse, settings, name, marts):
    publish(warehouse, settings, "run-1", marts)

    relation = "marts.mart_kpi" if name == "cem.duckdb" else "marts.marts.mart_kpi"
    with duckdb.connect(str(settings.published / name), read_only=True) as reader:
        assert reader.execute(f"select value from {relation}").fetchall() == [(0.41,)]


def test_parquet_holds_what_the_file_holds(warehouse, settings, read, marts):
    publish(warehouse, settings, "run-1", marts)

    folder = settings.published / "parquet"
    assert folder.readlink().name == "parquet-1"
    assert sorted(path.stem for path in folder.iterdir()) == [
        "_publication", "dim_customer", "mart_kpi", "mart_kpi_parts",
    ]  # fmt: skip
    for name in ("_publication", "dim_customer", "mart_kpi", "mart_kpi_parts"):
        parquet = warehouse.execute(f"from '{folder / name}.parquet' order by all").fetchall()
        assert parquet == read(f"from cem.marts.{name} order by all"), name


def test_nothing_is_written_when_nothing_changed(warehouse, settings, marts):
    first = publish(warehouse, settings, "run-1", marts)
    inode = first.path.stat().st_ino
    # dbt rebuilds its tables in another order; the rows are the same
    warehouse.execute("create or replace table marts.dim_customer as from marts.dim_customer order by customer_id desc")

    second = publish(warehouse, settings, "run-2", marts)

    assert (second.version, second.changed, second.rows) == (1, False, 201)
    assert second.path.stat().st_ino == inode
    assert warehouse.execute("select count(*) from ops.publications").fetchone() == (1,)


@pytest.mark.parametrize(
    "change",
    [
        "update marts.mart_kpi_parts set numerator = 42",
        "insert into marts.dim_customer from marts.dim_customer limit 2",
        "alter table marts.mart_kpi_parts alter n type double",
        "create or replace view marts.mart_kpi as select metric, n as value from marts.mart_kpi_parts",
        "update intermediate.int_as_of__resolved set as_of_date = '2024-05-02'",
        "update ops.loads set status = 'released' where status = 'held'",
        "update marts.dim_customer set email = 'new' || email where city = 'Leeds'",
    ],
)
def test_any_change_of_content_is_published(warehouse, settings, change, marts):
    publish(warehouse, settings, "run-1", marts)
    warehouse.execute(change)

    publication = publish(warehouse, settings, "run-2", marts)

    assert (publication.version, publication.changed) == (2, True)


def test_a_changed_description_or_policy_is_published(warehouse, settings, read, marts, settings_with):
    publish(warehouse, settings, "run-1", marts)
    assert publish(warehouse, settings, "run-2", [replace(marts[0], description="New."), *marts[1:]]).version == 2
    kept = settings_with(personal_data="kept")
    assert publish(warehouse, kept, "run-3", marts).version == 3
    assert read("select full_name from cem.marts.dim_customer where customer_id = 'C000000000000000'") == [
        ("Zahra Okonkwo 0",)
    ]


def test_masked_files_hold_no_personal_value_even_after_republishing(
    warehouse, settings, tmp_path, marts, settings_with, canaries
):
    publish(warehouse, settings_with(personal_data="kept"), "run-1", marts)
    assert all(canary.encode() in published_bytes(settings.published) for canary in ("Okonkwo", "Lavender"))

    publish(warehouse, settings, "run-2", marts)
    warehouse.execute("update marts.mart_kpi_parts set numerator = 42")
    publish(warehouse, settings, "run-3", marts)

    everything = published_bytes(settings.published).lower()
    assert [canary for canary in canaries if canary.encode() in everything] == []
    # Parquet is compressed: what its readers see is searched too
    for path in (settings.published / "parquet").iterdir():
        text = str(warehouse.execute(f"from '{path}'").fetchall()).lower()
        assert [canary for canary in canaries if canary in text] == [], path.name
    assert (tmp_path / "secret.key").read_bytes() not in everything


def test_old_parquet_folders_are_kept_as_long_as_wanted(warehouse, settings, marts):
    for number in range(5):
        warehouse.execute("update marts.mart_kpi_parts set n = ?", [100 + number])
        publish(warehouse, settings, f"run-{number}", marts)

    assert sorted(path.name for path in settings.published.glob("parquet-*")) == [
        "parquet-3", "parquet-4", "parquet-5",
    ]  # fmt: skip
    assert (settings.published / "parquet").readlink().name == "parquet-5"


def test_without_parquet_no_stale_copy_stays(warehouse, settings, marts, settings_with):
    publish(warehouse, settings, "run-1", marts)

    publication = publish(warehouse, settings_with(parquet=False), "run-2", marts)

    assert not publication.changed
    assert sorted(path.name for path in settings.published.iterdir()) == ["cem.duckdb", "marts.duckdb"]


def test_a_lost_parquet_copy_is_written_again(warehouse, settings, marts):
    publish(warehouse, settings, "run-1", marts)
    shutil.rmtree(settings.published / "parquet-1")

    assert publish(warehouse, settings, "run-2", marts).version == 2
    assert (settings.published / "parquet" / "dim_customer.parquet").exists()


def test_a_lost_warehouse_does_not_reuse_versions(warehouse, settings, marts):
    publish(warehouse, settings, "run-1", marts)
    warehouse.execute("delete from ops.publications")
    assert publish(warehouse, settings, "run-2", marts).version == 1
    assert warehouse.execute("select version, run_id from ops.publications").fetchall() == [(1, "run-1")]

    warehouse.execute("delete from ops.publications; update marts.mart_kpi_parts set n = 7")

    assert publish(warehouse, settings, "run-3", marts).version == 2


def test_an_unreadable_published_file_is_replaced(warehouse, settings, read, marts):
    publish(warehouse, settings, "run-1", marts)
    (settings.published / "marts.duckdb").write_bytes(b"not a database")

    assert publish(warehouse, settings, "run-2", marts).version == 2
    assert read("select version from cem.marts._publication") == [(2,)]


def test_a_missing_mart_is_named(warehouse, settings, marts):
    absent = MartSpec(name="mart_absent", columns=())
    with pytest.raises(PublicationError, match="mart_absent"):
        publish(warehouse, settings, "run-1", [*marts, absent])
    assert not (settings.published / "marts.duckdb").exists()


def test_an_undescribed_column_is_refused(warehouse, settings, marts):
    warehouse.execute("alter table marts.dim_customer add column second_mail text")
    with pytest.raises(PublicationError, match=r"dim_customer\.second_mail"):
        publish(warehouse, settings, "run-1", marts)


def test_a_full_disk_is_refused_before_anything_is_written(warehouse, settings, monkeypatch, marts):
    publish(warehouse, settings, "run-1", marts)
    warehouse.execute("update marts.mart_kpi_parts set n = 7")
    monkeypatch.setattr(space.shutil, "disk_usage", lambda _: SimpleNamespace(free=2**20))
    before = sorted(settings.published.rglob("*"))

    with pytest.raises(SpaceError, match="are free"):
        publish(warehouse, settings, "run-2", marts)

    assert sorted(settings.published.rglob("*")) == before


def test_a_folder_that_cannot_be_written_is_named(warehouse, settings, marts):
    settings.published.write_text("a file of that name")

    with pytest.raises(PublicationError, match=r"published cannot be written .*Readers keep"):
        publish(warehouse, settings, "run-1", marts)


def test_a_failed_write_leaves_the_old_version_and_no_draft(warehouse, settings, monkeypatch, read, marts):
    publish(warehouse, settings, "run-1", marts)
    warehouse.execute("update marts.mart_kpi_parts set n = 7")
    with monkeypatch.context() as patch:
        patch.setattr(writer, "_write_parquet", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(OSError, match="disk full"):
            publish(warehouse, settings, "run-2", marts)

    assert read("select version from cem.marts._publication") == [(1,)]
    assert not list(settings.published.glob("*.tmp*"))
    assert publish(warehouse, settings, "run-3", marts).version == 2


def test_a_view_over_other_schemas_is_published_as_a_masked_table(warehouse, settings, read, marts):
    warehouse.execute("create table intermediate.person as select 'a@canary-mail.example' as email")
    warehouse.execute("create view marts.mart_person as select email from intermediate.person")
    spec = MartSpec("mart_person", (MartColumn("email", "Mail.", "email"),), "One row per person.", "view")

    publish(warehouse, settings, "run-1", [*marts, spec])

    ((email,),) = read("select email from cem.marts.mart_person")
    assert len(email) == 32 and "@" not in email
    assert read("select count(*) from duckdb_tables() where table_name = 'mart_person'") == [(1,)]


def test_views_over_views_and_joins_stay_views(warehouse, settings, read, marts):
    warehouse.execute(
        "create view marts.mart_a as select k.metric, count(*) as n from marts.mart_kpi as k "
        "cross join (select 1 from marts.dim_customer) group by k.metric"
    )
    spec = MartSpec("mart_a", (MartColumn("metric"), MartColumn("n")), "One row per metric.", "view")

    publish(warehouse, settings, "run-1", [spec, *marts])

    assert read("select * from cem.marts.mart_a") == [("nps", 200)]
    assert read("select view_name from duckdb_views() where not internal order by 1") == [
        ("mart_a",),
        ("mart_kpi",),
    ]


def test_a_real_folder_in_place_of_the_link_is_not_touched(warehouse, settings, marts):
    (settings.published / "parquet").mkdir(parents=True)
    with pytest.raises(PublicationError, match="move it away"):
        publish(warehouse, settings, "run-1", marts)
