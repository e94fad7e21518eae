"""A company of many customers of whom little is known: Parquet files of a shop, a help desk and a survey.

The demo company says some thirty things of each customer in two years; with ten million of them it would need more disk
than most machines have. Here it is about three: what grows with the customers is measured, identity and everything that
holds one row or more for each of them, more than what grows with their contacts.

A delivery is a file a table: the first holds the two years to the end of June 2026, each later one a day with new
customers and what old ones did.
"""

from __future__ import annotations

from pathlib import Path

import duckdb

from orchestration.demo.pools import load_pools

DAILY_SHARE = 0.0008
"""New customers of a later delivery, and old ones who do something, each as a share of all: together they bring 0.14 %
of the records, as much as a day of two years."""

FEWEST_CUSTOMERS = 100_000
"""Below, some later deliveries would be empty, which the guard takes for a fault."""

SOURCES = """
  - name: shop
    kind: files
    folder: {folder}
    time_zone: UTC
    tables:
      - name: people
        files: people_*.parquet
        key: person_id
        entity: person
        columns: {{person_id: person_id, given_name: given_name, family_name: family_name, email: email, phone: phone,
                  birth_date: birth_date, city: city, country: {{value: GB}}, created_at: created_at}}
      - name: orders
        files: orders_*.parquet
        key: order_id
        entity: order
        columns: {{order_id: order_id, person_id: person_id, ordered_at: ordered_at, amount: amount,
                  channel: {{value: web}}, currency: {{value: USD}}, status: {{value: delivered}}}}
  - name: desk
    kind: files
    folder: {folder}
    time_zone: UTC
    tables:
      - name: tickets
        files: tickets_*.parquet
        key: ticket_id
        entities:
          - entity: ticket
            columns: {{ticket_id: ticket_id, person_id: email, channel: {{value: email}}, type: {{value: question}},
                      status: {{value: closed}}, created_at: created_at, resolved_at: resolved_at}}
          - entity: person
            one_per_key: true
            order_by: created_at
            columns: {{person_id: email, full_name: full_name, email: email}}
  - name: survey
    kind: files
    folder: {folder}
    time_zone: UTC
    tables:
      - name: surveys
        rows: [{{survey_id: nps, name: Relationship, kind: relational}}]
        key: survey_id
        entity: survey
        columns: {{survey_id: survey_id, name: name, kind: kind}}
      - name: questions
        rows: [{{question_id: nps, metric: nps, scale_min: "0", scale_max: "10"}}]
        key: question_id
        entity: question
        columns: {{question_id: question_id, survey_id: {{value: nps}}, metric: metric, scale_min: scale_min,
                  scale_max: scale_max}}
      - name: answers
        files: answers_*.parquet
        key: response_id
        entities:
          - entity: response
            columns: {{response_id: response_id, question_id: {{value: nps}}, person_id: email, score: score,
                      answered_at: answered_at}}
          - entity: person
            one_per_key: true
            order_by: answered_at
            columns: {{person_id: email, full_name: full_name, email: email}}
"""
"""The sources in the notation of cem.yml, with a place for the folder."""


def deliver(folder: Path, customers: int, delivery: int) -> None:
    """Write the files of a delivery: 0 is the first one, of `customers` people; later ones are a day each.

    Raises:
        ValueError: There are too few customers.
    """
    if customers < FEWEST_CUSTOMERS:
        raise ValueError(
            f"{customers:,} customers are too few for a plain company; allowed: {FEWEST_CUSTOMERS:,} or more"
        )
    folder.mkdir(parents=True, exist_ok=True)
    born = range(customers)
    if delivery:
        joined = round(customers * DAILY_SHARE)
        born = range(customers + (delivery - 1) * joined, customers + delivery * joined)
    with duckdb.connect() as con:
        load_pools(con)
        con.execute(f"""
            create macro u(human, what) as (hash(human, what) % 1000003) / 1000003;
            create macro pick(pool, share) as pool[1 + floor(len(pool) * share)::int];
            -- When something happened: within two years, or on the day of a later delivery.
            create macro moment(human, what) as timestamp '2024-07-01' + case {delivery}
                when 0 then interval 1 minute * (u(human, what) * 730 * 1440)::int
                else interval {730 + delivery} day + interval 1 minute * (u(human, what) * 1440)::int
            end;
            create temp table acting as
            with drawn as (
                select human, true as is_new
                from range({born.start}, {born.stop}) as drawn (human)
                union all
                select human, false as is_new
                from range({customers}) as drawn (human)
                where {delivery} > 0 and u(human, 'acts {delivery}') < {DAILY_SHARE}
            )
            select
                human,
                is_new,
                pick(getvariable('given_f_en') || getvariable('given_m_en'), pow(u(human, 'given'), 2)) as given_name,
                pick(getvariable('family_en'), pow(u(human, 'family'), 2))
                || pick(['', '', 'son', 'ian', 'er', 'ini', 'sen', 'wood', 'ford', 'ley'], u(human, 'ending'))
                    as family_name,
                lower(given_name || '.' || family_name || human) || '@example.com' as email
            from drawn;
        """)
        tables = {
            "people": """
                select
                    'P' || human as person_id,
                    given_name,
                    family_name,
                    email,
                    case when u(human, 'has phone') < 0.7
                        then '07' || lpad((hash(human, 'phone') % 1000000000)::text, 9, '0') end as phone,
                    (date '1940-01-01' + (u(human, 'birth') * 23000)::int)::text as birth_date,
                    'Town ' || (hash(human, 'town') % 5000)::text as city,
                    moment(human, 'joined')::text as created_at,
                from acting where is_new
            """,
            "orders": f"""
                select
                    concat_ws('.', 'O' || human, {delivery}, place) as order_id,
                    'P' || human as person_id,
                    moment(human, place)::text as ordered_at,
                    round(5 + 200 * u(human, 'amount' || place), 2)::text as amount,
                from (select *, unnest(range(6)) as place from acting) where u(human, 'orders' || place) < 0.5
            """,
            "tickets": f"""
                select
                    'T' || human || '.{delivery}' as ticket_id,
                    email,
                    given_name || ' ' || family_name as full_name,
                    moment(human, 'asks')::text as created_at,
                    (moment(human, 'asks') + interval 1 minute * (10 + 4000 * u(human, 'waits'))::int)::text
                        as resolved_at,
                from acting where u(human, 'ticket') < 0.1
            """,
            "answers": f"""
                select
                    'A' || human || '.{delivery}' as response_id,
                    email,
                    given_name || ' ' || family_name as full_name,
                    floor(11 * pow(u(human, 'score'), 0.5))::int::text as score,
                    moment(human, 'answers')::text as answered_at,
                from acting where u(human, 'answer') < 0.1
            """,
        }
        for name, select in tables.items():
            con.execute(f"copy ({select}) to '{folder / f'{name}_{delivery}.parquet'}'")
