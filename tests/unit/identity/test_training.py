"""A model is learnt from records nobody has labelled, is a file people can read, and is refused when it is stale."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pyarrow as pa
import pytest
from person_registry import Registry

from orchestration.identity import resolution, resolve, resolve_and_learn, train_model
from orchestration.identity.model import COMPARISONS, DEFAULT_MODEL, ModelError, load_model
from orchestration.identity.state import input_hash_sql
from orchestration.identity.training import TrainingError

GIVEN = ("Ali", "Sara", "Reza", "Katherine", "Margaret", "Mohammad", "Fatemeh", "Thomas", "Peter", "Mina")
FAMILY = ("Karimi", "Ahmadi", "Thompson", "Miller", "Rezaei", "Hosseini", "Schneider", "Fischer", "Moradi", "Jafari")


def test_there_is_nothing_to_learn_before_identity_has_tied_records(registry: Registry, tmp_path: Path) -> None:
    registry.put("crm:1", full_name="Ali Karimi")
    registry.resolve()
    with pytest.raises(TrainingError, match="run the daily job first"):
        train_model(registry.con, tmp_path / "model.json")


def put_two_sources(registry: Registry) -> None:
    """Three hundred humans, each with a record in the CRM and one at the help desk."""
    draw = random.Random(8)
    rows = []
    for human in range(300):
        person = {
            "full_name": f"{draw.choice(GIVEN)} {draw.choice(FAMILY)}",
            "email": f"person{human}@example.ir",
            "phone": f"0912{draw.randrange(2_000_000, 9_000_000)}",
            "birth_date": f"{draw.randrange(1950, 2000)}-0{draw.randrange(1, 10)}-{draw.randrange(10, 29)}",
        }
        for source in ("crm", "desk"):
            # Every fifth record of the help desk has another birth date: that is to be learnt.
            wrong = {"birth_date": "1975-11-11"} if source == "desk" and human % 5 == 0 else {}
            rows.append(
                {"person_key": f"{source}:{human}", "source": source, "person_id": str(human), **person, **wrong}
            )
    registry.con.register("drawn", pa.Table.from_pylist(rows))
    registry.con.execute("""
        insert into intermediate.int_person_record__collected by name
        select * replace (birth_date::date as birth_date), false as is_bare from drawn
    """)


def test_what_is_learnt_is_a_file_to_review_and_the_same_each_time(registry: Registry, tmp_path: Path) -> None:
    put_two_sources(registry)
    registry.resolve()
    model = train_model(registry.con, tmp_path / "model.json")
    assert 0.7 < model.m["birth date"]["same date"] < 0.9
    assert model.u["birth date"]["same date"] < 0.02
    assert model.m["street"] == pytest.approx(load_model(DEFAULT_MODEL).m["street"])
    written = json.loads((tmp_path / "model.json").read_text())
    assert set(written["comparisons"]["name"][0]) == {"level", "m", "u", "bits"}
    assert written["about"]["records"] == 600
    again = train_model(registry.con, tmp_path / "again.json")
    assert again.signature == model.signature == load_model(tmp_path / "model.json").signature


def test_a_run_without_a_model_learns_it_before_it_weighs(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolution, "MIN_TRAINING_RECORDS", 500)
    file, collected = tmp_path / "model.json", "intermediate.int_person_record__collected"
    put_two_sources(registry)
    registry.con.execute(f"update {collected} set input_hash = {input_hash_sql()}")
    # A few are late, so that what they bring is followed, with edges that are known.
    registry.con.execute(f"create table late as from {collected} where person_id::int % 50 = 7")
    registry.con.execute(f"delete from {collected} where person_id::int % 50 = 7")
    assert resolve_and_learn(registry.con, registry.settings, file).is_changed
    learnt = load_model(file)
    # Nobody was a customer by another model first.
    assert registry.rows("select distinct kind from identity.event") == [("create",)]
    assert not resolve_and_learn(registry.con, registry.settings, file).is_changed
    file.unlink()
    assert resolve_and_learn(registry.con, registry.settings, file).is_changed
    assert load_model(file).signature == learnt.signature

    file.unlink()
    registry.con.execute(f"insert into {collected} by name from late")
    assert resolve_and_learn(registry.con, registry.settings, file).is_changed
    pairs, groups = registry.rows("from identity.pair order by all"), registry.groups()
    assert load_model(file).about["records"] == 600
    resolve(registry.con, registry.settings, model=load_model(file), full=True)
    assert (registry.rows("from identity.pair order by all"), registry.groups()) == (pairs, groups)


def test_of_few_records_nothing_is_learnt(registry: Registry, tmp_path: Path) -> None:
    put_two_sources(registry)
    registry.con.execute(f"update intermediate.int_person_record__collected set input_hash = {input_hash_sql()}")
    assert resolve_and_learn(registry.con, registry.settings, tmp_path / "model.json").customers == 300
    assert not (tmp_path / "model.json").exists()


def test_a_model_of_other_comparisons_is_refused_with_what_to_do(tmp_path: Path) -> None:
    known = json.loads(DEFAULT_MODEL.read_text())
    del known["comparisons"][COMPARISONS[0].name][0]
    stale = tmp_path / "model.json"
    stale.write_text(json.dumps(known))
    with pytest.raises(ModelError, match="cem identity train"):
        load_model(stale)


@pytest.mark.parametrize("left", ["", "[]", '{"partners": 2', '{"partners": 2, "comparisons": []}'])
def test_a_damaged_model_is_named(tmp_path: Path, left: str) -> None:
    file = tmp_path / "model.json"
    file.write_text(left)
    with pytest.raises(ModelError, match=rf"{file} is .*cem identity train"):
        load_model(file)
