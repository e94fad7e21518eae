"""How often a sound delivery is held: the demo company, a load a day, nobody doing anything wrong.

Every hold is released, as its operator would, and counted. The company has weekends, holidays, campaigns, late and
deleted records, and a few spoilt rows a thousand, so every hold here is one too many.
"""

import os

import pytest

from orchestration.demo.company import advance, generate
from orchestration.guard import guard_table, release
from orchestration.settings import load_settings
from orchestration.sources.extract import extract_table
from orchestration.warehouse import connect, install_extensions, new_load_id

CUSTOMERS = int(os.environ.get("CEM_BENCH_CUSTOMERS", "2000"))
DAYS = int(os.environ.get("CEM_BENCH_DAYS", "45"))
SEEDS = (3, 17, 29)


def loads_of_a_day(con, settings, held):
    """Load every table once; how many loads there were. `held` grows by table and reason."""
    load_id = new_load_id()
    for table in settings.tables():
        verdict = guard_table(con, settings, table, extract_table(con, settings, table, load_id))
        if verdict.status == "held":
            held.append(f"{table.source}.{table.name}: {verdict.reason}")
            release(con, settings, load_id, table.source, table.name, "benchmark", "the company did nothing wrong")
    return len(settings.tables())


@pytest.mark.benchmark
@pytest.mark.parametrize("seed", SEEDS)
def test_how_many_sound_loads_are_held(tmp_path, keep, seed):
    (tmp_path / "cem.yml").write_text(
        "company: Bench\nidentity: {default_country: IR}\n"
        f"sources:\n  - {{name: demo, kind: demo, customers: {CUSTOMERS}, seed: {seed}}}\n"
    )
    settings = load_settings(tmp_path / "cem.yml", tmp_path / "home")
    settings.home.mkdir()
    install_extensions(settings.extensions)
    generate(settings.demo_folder, customers=CUSTOMERS, seed=seed, extensions=settings.extensions)
    con = connect(settings.warehouse, settings.extensions, "2GB", 2)
    held = []
    loads = loads_of_a_day(con, settings, held)
    for _ in range(DAYS):
        advance(settings.demo_folder, 1, extensions=settings.extensions)
        loads += loads_of_a_day(con, settings, held)
    con.close()
    head = f"{CUSTOMERS:,} customers, {DAYS} days, {loads:,} loads, {len(held)} held ({len(held) / loads:.2%})"
    keep(f"sound loads that are held, seed {seed}", {"loads": loads, "held": held}, "\n".join([head, *held]))
