"""The README's configuration reference knows every setting there is."""

from pathlib import Path

import pytest

from orchestration import settings

README = (Path(__file__).parents[2] / "README.md").read_text()

PARTS = {
    "reporting": settings.Reporting,
    "kpis": settings.Kpis,
    "guard": settings.Guard,
    "identity": settings.Identity,
    "clv": settings.Clv,
    "schedule": settings.Schedule,
    "publish": settings.Publish,
    "engine": settings.Engine,
    "paging": settings.Paging,
    "limits": settings.Limits,
}


@pytest.mark.parametrize("name", [f"{part}.{field}" for part, model in PARTS.items() for field in model.model_fields])
def test_every_setting_is_in_the_reference(name):
    assert f"`{name}`" in README


@pytest.mark.parametrize(
    "model",
    [
        settings.Source,
        settings.Table,
        settings.ColumnMapping,
        settings.EntityMapping,
        settings.Auth,
        settings.Since,
        settings.SweepRequest,
    ],
)
def test_every_field_of_a_source_is_in_the_reference(model):
    internal = {"source", "guard"}
    missing = [name for name in model.model_fields if f"`{name}`" not in README and name not in internal]
    assert missing == []


@pytest.mark.parametrize("command", ["make run", "make ui", "make test", "make check", "make docs", "make demo"])
def test_commands_of_the_readme_exist(command):
    makefile = (Path(__file__).parents[2] / "Makefile").read_text()
    assert f"\n{command.split()[1]}:" in makefile
    assert command in README


def test_the_example_of_records_behind_a_figure_asks_for_all_of_them():
    [example] = [line for line in README.splitlines() if line.startswith("`cem dbt show")]
    assert "--limit -1 --output json" in example and "kpi_records(" in example
