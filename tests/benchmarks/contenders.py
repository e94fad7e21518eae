"""What a full build is compared with, each a process of its own: `python contenders.py NAME HOME RAW OUT MEMORY`.

HOME is the state folder after a full build, RAW holds the raw files, OUT is an empty folder to write to, MEMORY is what
DuckDB may take.

Belongs here: the floor, and what somebody would do instead. Does not belong here: measuring (`test_scale.py`).
"""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

import duckdb


def floor(home: Path, raw: Path, out: Path, memory: str) -> None:
    """Read every raw value once and write the published marts once: the least any such job does on this machine.

    Raw files are parsed, as text where text was sent, and every value is hashed; nothing is cleaned, kept or joined.
    """
    relations = [_reader(path) for path in sorted(raw.rglob("*_[0-9]*"))]
    with duckdb.connect(config={"extension_directory": str(home / "extensions"), "threads": 2}) as con:
        con.execute(f"set memory_limit = '{memory}'; set preserve_insertion_order = false")
        for path in raw.glob("*.db"):
            con.execute(f"attach '{path}' as crm (type sqlite)")
            tables = con.execute("select table_name from duckdb_tables() where database_name = 'crm'").fetchall()
            relations += [f'crm."{name}"' for (name,) in tables]
        for relation in relations:
            con.execute(f"select bit_xor(hash(raw)) from {relation} as raw").fetchall()
        con.execute(f"attach '{home / 'published' / 'cem.duckdb'}' as marts (read_only)")
        con.execute(f"attach '{out / 'floor.duckdb'}' as written")
        names = con.execute("select table_name from duckdb_tables() where database_name = 'marts'").fetchall()
        for (name,) in names:
            schema = "ops" if name == "load_summary" else "marts"
            con.execute(f'create table written."{name}" as from marts.{schema}."{name}"')
        con.execute("checkpoint written")


def _reader(path: Path) -> str:
    readers = {
        ".jsonl": f"read_json('{path}', format = 'newline_delimited', maximum_depth = 1)",
        ".csv": f"read_csv('{path}', delim = ';', all_varchar = true)",
        ".parquet": f"read_parquet('{path}')",
    }
    return readers[path.suffix]


def pandas_scripts(home: Path, raw: Path, out: Path, memory: str) -> None:
    """A customer view and monthly KPIs as an analyst's scripts make them: pandas on the same files.

    People are one when they share a mail or a phone as typed; nothing is guarded, no name is compared, times are taken
    as they stand, and of the KPIs there are NPS, CSAT, first reply, complaints and revenue, without intervals.
    """
    import numpy as np
    import pandas as pd
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    with sqlite3.connect(raw / "crm.db") as db:
        people = pd.read_sql("select * from people", db)
        orders = pd.read_sql("select * from orders", db)
        subscriptions = pd.read_sql("select * from subscriptions", db)
        consents = pd.read_sql("select * from consents", db)

    def read(pattern: str, **options: object) -> pd.DataFrame:
        readers = {"jsonl": lambda path: pd.read_json(path, lines=True, dtype=False, convert_dates=False)}
        readers |= {"csv": lambda path: pd.read_csv(path, sep=";", dtype=str), "parquet": pd.read_parquet}
        kind = pattern.rsplit(".", 1)[1]
        return pd.concat([readers[kind](path) for path in sorted(raw.glob(pattern))], ignore_index=True)

    tickets = read("support/tickets_*.jsonl").sort_values("updated_at").drop_duplicates("ticket_id", keep="last")
    events = read("support/ticket_events_*.jsonl").drop_duplicates("event_id", keep="last")
    responses = read("survey/responses_*.csv").drop_duplicates("response_id", keep="last")
    mentions = read("social/mentions_*.jsonl").drop_duplicates("mention_id", keep="last")
    sessions = read("web/sessions_*.parquet").drop_duplicates("session_id", keep="last")
    visitors = read("web/visitors_*.parquet").drop_duplicates("visitor_id", keep="last")

    records = pd.concat(
        [
            people.rename(columns={"person_id": "id"}).assign(id=lambda frame: "crm:" + frame["id"].astype(str)),
            tickets.rename(
                columns={"requester_id": "id", "requester_email": "email", "requester_phone": "phone"}
            ).assign(id=lambda frame: "support:" + frame["id"].astype(str)),
            responses.dropna(subset=["respondent_id"])
            .rename(columns={"respondent_id": "id", "respondent_email": "email", "respondent_phone": "phone"})
            .assign(id=lambda frame: "survey:" + frame["id"].astype(str)),
            visitors.rename(columns={"visitor_id": "id", "login_email": "email"}).assign(
                id=lambda frame: "web:" + frame["id"].astype(str)
            ),
        ]
    )[["id", "email", "phone"]].drop_duplicates()
    ids = pd.Index(records["id"].unique())
    pairs = []
    for column in ("email", "phone"):
        known = records.dropna(subset=[column])
        known = known[known[column].astype(str).str.len() > 5]
        first = known.groupby(known[column].astype(str).str.lower())["id"].transform("first")
        pairs.append((ids.get_indexer(known["id"]), ids.get_indexer(first)))
    one, other = (np.concatenate(side) for side in zip(*pairs, strict=True))
    edges = coo_array((np.ones(len(one)), (one, other)), shape=(len(ids), len(ids)))
    customer = dict(zip(ids, connected_components(edges, directed=False)[1], strict=True))

    def place(frame: pd.DataFrame, source: str, column: str) -> pd.DataFrame:
        return frame.assign(customer=(source + ":" + frame[column].astype(str)).map(customer))

    orders = place(orders, "crm", "person_id")
    tickets = place(tickets, "support", "requester_id")
    responses = place(responses, "survey", "respondent_id")
    sessions = place(sessions, "web", "visitor_id")
    subscriptions = place(subscriptions, "crm", "person_id")
    consents = place(consents, "crm", "person_id")
    responses["score"] = pd.to_numeric(responses["score"], errors="coerce")
    responses["answered_at"] = pd.to_datetime(responses["answered_at"], format="mixed", dayfirst=True, errors="coerce")
    orders["ordered_at"] = pd.to_datetime(orders["ordered_at"], format="mixed", errors="coerce")
    tickets["created_at"] = pd.to_datetime(tickets["created_at"], format="mixed", utc=True, errors="coerce")
    events["occurred_at"] = pd.to_datetime(events["occurred_at"], format="mixed", utc=True, errors="coerce")

    sold = orders[~orders["status"].isin(["cancelled", "returned"])]
    revenue = sold.assign(amount=pd.to_numeric(sold["amount"], errors="coerce")).groupby("customer")
    view = pd.DataFrame(index=pd.Index(sorted(set(customer.values())), name="customer"))
    view["orders"], view["revenue"] = revenue["order_id"].nunique(), revenue["amount"].sum()
    view["last_order"] = revenue["ordered_at"].max()
    for name in ("orders", "revenue"):
        view[f"{name}_quintile"] = pd.qcut(view[name].rank(method="first"), 5, labels=False)
    view["tickets"] = tickets.groupby("customer")["ticket_id"].nunique()
    view["open"] = tickets[~tickets["status"].isin(["solved", "closed"])].groupby("customer")["ticket_id"].nunique()
    view["sessions"] = sessions.groupby("customer")["session_id"].nunique()
    view["subscriptions"] = subscriptions[subscriptions["ended_at"].isna()].groupby("customer").size()
    view["consents"] = consents.groupby("customer")["is_granted"].sum()
    for question, group in responses.sort_values("answered_at").groupby("question_id"):
        view[f"latest_{question}"] = group.groupby("customer")["score"].last()
    replies = events[(events["type"] == "message") & (events["visibility"] == "public")]
    replies = replies[replies["actor_type"] == "agent"].groupby("ticket_id")["occurred_at"].min()
    tickets["wait"] = (tickets["ticket_id"].map(replies) - tickets["created_at"]).dt.total_seconds() / 60

    months = responses.assign(month=responses["answered_at"].dt.to_period("M"))
    nps = months[months["question_id"] == "REL-NPS"].groupby("month")["score"]
    kpis = pd.DataFrame({"nps": nps.apply(lambda score: 100 * ((score >= 9).mean() - (score <= 6).mean()))})
    csat = months[months["question_id"] == "TKT-CSAT"].groupby("month")["score"]
    kpis["csat"] = csat.apply(lambda score: (score >= 4).mean())
    month = tickets["created_at"].dt.tz_localize(None).dt.to_period("M")
    kpis["first_reply"] = tickets.groupby(month)["wait"].mean()
    kpis["complaints"] = tickets[tickets["type"] == "complaint"].groupby(month)["ticket_id"].count()
    kpis["revenue"] = sold.groupby(sold["ordered_at"].dt.to_period("M"))["amount"].apply(
        lambda amount: pd.to_numeric(amount, errors="coerce").sum()
    )
    kpis["net_sentiment"] = mentions.groupby(
        pd.to_datetime(mentions["published_at"], format="mixed", utc=True, errors="coerce")
        .dt.tz_localize(None)
        .dt.to_period("M")
    )["sentiment"].apply(lambda mood: 100 * ((mood == "positive").mean() - (mood == "negative").mean()))
    view.to_parquet(out / "view.parquet")
    kpis.to_csv(out / "kpis.csv")


def plain_dbt(home: Path, raw: Path, out: Path, memory: str) -> None:
    """The same models with dbt alone, every one a table that is built anew; extraction and identity left aside."""
    import os
    import re
    import shutil

    from dbt.cli.main import dbtRunner

    project = out / "dbt_project"
    shutil.copytree(Path(__file__).parents[2] / "dbt_project", project)
    shutil.copytree(home / "dbt" / "models", out / "models")
    shutil.copytree(home / "dbt" / "macros", out / "macros")
    config = project / "dbt_project.yml"
    config.write_text(config.read_text().replace("+materialized: view", "+materialized: table"))
    for path in [*project.rglob("models/**/*.sql"), *(out / "models").rglob("*.sql")]:
        text = re.sub(r"\{\{ config\([^\n]+\) \}\}", "", path.read_text())
        path.write_text(re.sub(r"\{\{ config\(\n.*?\n\) \}\}", "", text, flags=re.DOTALL))
    shutil.copyfile(home / "warehouse.duckdb", out / "warehouse.duckdb")
    with duckdb.connect(str(out / "warehouse.duckdb")) as con:
        for schema in ("staging", "intermediate"):
            con.execute(f"drop schema {schema} cascade")
        con.execute("delete from ops.builds")  # nothing is there that could follow a change
    os.environ |= {
        "CEM_DBT_MODELS": str(out / "models"),
        "CEM_DBT_MACROS": str(out / "macros"),
        "CEM_WAREHOUSE": str(out / "warehouse.duckdb"),
        "CEM_MEMORY_LIMIT": memory,
    }
    folders = ["--project-dir", str(project), "--profiles-dir", str(project), "--target-path", str(out / "target")]
    excluded = ["--exclude-resource-type", "unit_test", "--exclude-resource-type", "test", "--log-level", "none"]
    outcome = dbtRunner().invoke(["build", *excluded, *folders, "--log-path", str(out / "logs")])
    failed = [] if outcome.result is None else [each for each in outcome.result.results if each.status == "error"]
    if outcome.exception or failed:
        raise SystemExit(str(outcome.exception or [(each.node.name, each.message) for each in failed]))


CONTENDERS = {"floor": floor, "pandas scripts": pandas_scripts, "dbt, every model a table": plain_dbt}

if __name__ == "__main__":
    CONTENDERS[sys.argv[1]](*map(Path, sys.argv[2:5]), sys.argv[5])
