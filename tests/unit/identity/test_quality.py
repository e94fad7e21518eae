"""How well the rules find who is who in the demo company, against its hidden truth."""

from __future__ import annotations

from pathlib import Path

import pytest
from person_registry import Registry

from orchestration import demo

# The records as cem.yml would map them; the mapping itself is tested where it lives.
RECORDS = {
    "demo_crm": """
        select person_id, first_name as given_name, last_name as family_name, null as full_name, email, phone,
            country, null as linked, created_at::timestamp as created_at
        from crm.people
    """,
    "demo_support": """
        select requester_id as person_id, null as given_name, null as family_name,
            arg_max(requester_name, updated_at) as full_name, arg_max(requester_email, updated_at) as email,
            arg_max(requester_phone, updated_at) as phone, null as country, null as linked, null as created_at
        from read_json('{folder}/support/tickets_*.jsonl', format = 'newline_delimited', union_by_name = true)
        group by requester_id
    """,
    "demo_survey": """
        select respondent_id as person_id, null as given_name, null as family_name,
            arg_max(respondent_name, answered_at) as full_name, arg_max(respondent_email, answered_at) as email,
            arg_max(respondent_phone, answered_at) as phone, null as country, arg_max(crm_id, answered_at) as linked,
            null as created_at
        from read_csv('{folder}/survey/responses_*.csv', delim = ';', all_varchar = true)
        where nullif(respondent_id, '') is not null
        group by respondent_id
    """,
    "demo_web": """
        select visitor_id as person_id, null as given_name, null as family_name, null as full_name,
            any_value(login_email) as email, null as phone, null as country, any_value(customer_ref) as linked,
            min(first_seen_at::timestamp) as created_at
        from read_parquet('{folder}/web/visitors_*.parquet')
        group by visitor_id
    """,
}


@pytest.fixture
def demo_records(registry: Registry, extensions: Path, tmp_path: Path) -> Path:
    """The person records of a small demo company, in the registry; no rule was chosen by looking at this seed."""
    folder = tmp_path / "demo"
    demo.generate(folder, customers=1000, seed=11, extensions=extensions)
    registry.con.execute(f"set extension_directory = '{extensions}'")
    registry.con.execute(f"attach '{folder / 'crm.db'}' as crm (type sqlite, read_only)")
    for source, query in RECORDS.items():
        registry.con.execute(f"""
            insert into intermediate.int_person_record__collected by name
            select '{source}:' || person_id as person_key, '{source}' as source, person_id, given_name, family_name,
                full_name, email, nullif(phone, '0000000000') as phone, country,
                'demo_crm:' || nullif(linked, '') as linked_person_key, created_at, false as is_bare
            from ({query.format(folder=folder)})
            where person_id is not null
            qualify row_number() over (partition by person_id order by created_at) = 1
        """)
    return folder


def test_links_in_the_demo_company_are_right_and_most_are_found(registry: Registry, demo_records: Path) -> None:
    registry.resolve()
    registry.con.execute(f"""
        create table placed as
        select member.customer_id, truth.true_person_id
        from identity.member as member
        inner join intermediate.int_person_record__collected as record on member.person_key = record.person_key
        inner join read_parquet('{demo_records}/_truth/who_is_who.parquet') as truth
            on record.source = truth.source and record.person_id = truth.record_id
    """)
    pairs = "select sum(n * (n - 1) / 2) from (select count(*) as n from placed group by {})"
    both, said, true = (
        float(registry.rows(pairs.format(keys))[0][0])
        for keys in ("customer_id, true_person_id", "customer_id", "true_person_id")
    )
    precision, recall = both / said, both / true
    assert precision >= 0.99, f"precision {precision:.4f}, recall {recall:.4f}"
    assert recall >= 0.6, f"precision {precision:.4f}, recall {recall:.4f}"
