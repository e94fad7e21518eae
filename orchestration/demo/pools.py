"""The pools of words that the SQL draws from, as DuckDB variables.

Belongs here: where names and texts come from (faker's pools, `names_fa.csv` for the Latin spelling of
Persian names, `words.yml`). Does not belong here: how they are drawn or misspelt; that is in `sql/`.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb
import yaml

HERE = Path(__file__).parent

_TO_PERSIAN = str.maketrans("يك", "یک")


def load_pools(con: duckdb.DuckDBPyConnection) -> None:
    """Set one list variable for each pool; the SQL reads them with `getvariable`."""
    for name, values in {**name_pools(), **word_pools()}.items():
        con.execute(f"set variable {name} = ?::varchar[]", [list(values)])


def name_pools() -> Mapping[str, Sequence[str]]:
    """Given and family names by language and gender; `*_latin` lists run parallel to the Persian ones.

    Of faker's Persian names only those with a Latin spelling in `names_fa.csv` are used, because a
    customer is written in both scripts, each name once (faker repeats some in Arabic spelling).
    """
    from faker.providers.person.en_GB import Provider as British
    from faker.providers.person.en_US import Provider as American
    from faker.providers.person.fa_IR import Provider as Persian

    with (HERE / "names_fa.csv").open(encoding="utf-8", newline="") as handle:
        latin = {(row["kind"], row["persian"]): row["latin"] for row in csv.DictReader(handle)}
    pools: dict[str, Sequence[str]] = {
        "given_f_en": tuple(American.first_names_female),
        "given_m_en": tuple(American.first_names_male),
        "family_en": tuple(dict.fromkeys([*American.last_names, *British.last_names])),
    }
    for pool, kind, names in (
        ("given_f_fa", "given", Persian.first_names_female),
        ("given_m_fa", "given", Persian.first_names_male),
        ("family_fa", "family", Persian.last_names),
    ):
        known = [name for name in _spelt_once(names) if (kind, name) in latin]
        pools[pool] = known
        pools[f"{pool}_latin"] = [latin[kind, name] for name in known]
    return pools


def word_pools() -> Mapping[str, Sequence[str]]:
    """The lists of `words.yml`."""
    with (HERE / "words.yml").open(encoding="utf-8") as handle:
        pools: dict[str, list[str]] = yaml.safe_load(handle)
    return pools


def _spelt_once(names: Sequence[str]) -> Sequence[str]:
    return tuple(dict.fromkeys(name.translate(_TO_PERSIAN) for name in names))
