"""The pools line up the way the SQL addresses them."""

from __future__ import annotations

from faker.providers.person.fa_IR import Provider as Persian

from orchestration.demo.pools import name_pools, word_pools


def test_persian_names_have_a_latin_spelling_each() -> None:
    pools = name_pools()
    for name in ("given_f_fa", "given_m_fa", "family_fa"):
        assert len(pools[name]) == len(pools[f"{name}_latin"]) == len(set(pools[name]))
        assert all(spelling.replace(" ", "").isascii() for spelling in pools[f"{name}_latin"])


def test_nearly_all_of_fakers_names_are_used() -> None:
    used = len(name_pools()["family_fa"])
    assert used / len(set(Persian.last_names)) > 0.95


def test_lists_run_parallel_to_the_categories() -> None:
    words = word_pools()
    categories = len(words["category"])
    assert {len(words[f"aspect_{language}"]) for language in ("fa", "en")} == {4 * categories}
    assert {len(words[f"subject_{language}"]) for language in ("fa", "en")} == {2 * categories}
    assert len(words["article"]) == 2 * categories
    assert len(words["campaign"]) == 12
    assert len(words["city_ir"]) == len(words["region_ir"])
