"""Secrets and personal data put through every stage, also the failing ones, turn up where they may and nowhere else.

They may be in the sources, in the configuration's environment and in the warehouse. They may not be in what a run
prints or logs, in Dagster's storage, in dbt's artefacts, on the pages, or in what is published masked.
"""

import dagster as dg
import duckdb
import pytest
from api_server import Reply, serving
from homes import new_home
from pydantic import SecretStr

from orchestration import transform
from orchestration.cli import main
from orchestration.definitions import build_defs
from orchestration.defs import load
from orchestration.defs.run import instance
from orchestration.notification import notify
from orchestration.settings import load_settings

pytestmark = pytest.mark.xdist_group("canary")

SECRETS = {
    "CANARY_DB": "kanari-db-pass",
    "CANARY_DESK": "kanari-token",
    "CANARY_HASH": "kanari-hash-key-0123",
    "CANARY_HOOK": "kanari-hook",
}
NAME, PERSIAN, MAIL, PHONE, TEXT = (
    "Zahra Kanarizadeh",
    "زهرا قناری‌زاده",
    "zahra@kanari.example",
    "9121234567",
    "plumbago",
)
TICKETS = 40
PERSONAL = ("kanarizadeh", "قناری", "kanari.example", PHONE, TEXT)

CONFIG = """
company: Test Shop
engine: {{memory_limit: 1GB, threads: 2}}
notify: {{webhook: "http://127.0.0.1:1/${{CANARY_HOOK}}"}}
publish: {{hash_key: "${{CANARY_HASH}}"}}
sources:
  - name: shop
    kind: files
    folder: in
    tables:
      - name: people
        files: people*.csv
        key: mail
        entity: person
        columns: {{person_id: mail, full_name: name, email: mail, phone: phone, created_at: since}}
      - name: answers
        files: answers.csv
        key: id
        entity: response
        columns:
          response_id: id
          person_id: person
          question_id: {{value: q}}
          score: score
          comment: words
          answered_at: at
  - name: desk
    kind: api
    url: {desk}
    auth: {{type: bearer, token: "${{CANARY_DESK}}"}}
    limits: {{first_wait_seconds: 0.01}}
    tables:
      - name: tickets
        path: /tickets
        records: tickets
        paging: {{type: cursor, next: next, parameter: cursor, stop: end}}
        key: id
        cursor: changed
        entity: ticket
        columns: {{ticket_id: id, subject: subject, created_at: created, person_id: requester.mail}}
{crm}"""
CRM = """
  - name: crm
    kind: sql
    engine: postgres
    connection: postgresql://reader:${CANARY_DB}@127.0.0.1:1/crm
    tables:
      - {name: contacts, key: id, entity: person, columns: {person_id: id, email: email}}
"""


def people(bad, count=60):
    """Rows keyed by mail; the first ones cannot be read, and name their owner wherever they can."""
    rows = [
        f"{i}.{MAIL},{NAME if i % 2 else PERSIAN},+98{PHONE},{f'never said {NAME}' if i < bad else '2024-01-01'}"
        for i in range(count)
    ]
    return "\n".join(["mail,name,phone,since", *rows]) + "\n"


def tickets(call):
    """Pages of a help desk, for whoever bears its token."""
    if call.headers["Authorization"] != f"Bearer {SECRETS['CANARY_DESK']}":
        return Reply({}, 401)
    start = int(call.query.get("cursor", 0))
    end = start + 10
    page = [
        {
            "id": i,
            "subject": f"{TEXT} mail {MAIL} or +98 {PHONE}",
            "created": "2024-02-02T08:00:00Z",
            "changed": f"2024-02-02T09:{i:02}:00Z",
            "requester": {"mail": f"{i}.{MAIL}"},
        }
        for i in range(start, end)
    ]
    return {"tickets": page, "next": str(end), "end": end >= TICKETS}


@pytest.fixture(scope="module")
def company(tmp_path_factory):
    folder = tmp_path_factory.mktemp("canary")
    new_home(folder / "var")
    (folder / "in").mkdir()
    (folder / "in" / "people_1.csv").write_text(people(bad=2))
    answers = "".join(f'a{i},{i}.{MAIL},{i % 11},"{TEXT} mail {MAIL} or +98 {PHONE}",2024-02-01\n' for i in range(20))
    (folder / "in" / "answers.csv").write_text(f"id,person,score,words,at\n{answers}ax,{NAME},{NAME},{TEXT},{NAME}\n")
    with serving(tickets) as server:
        (folder / "cem.yml").write_text(CONFIG.format(desk=server.url, crm=""))
        (folder / "with_crm.yml").write_text(CONFIG.format(desk=server.url, crm=CRM))
        yield folder


def failures(result):
    return "".join(str(event.event_specific_data) for event in result.get_step_failure_events())


def test_canaries_stay_where_they_may_be(company, monkeypatch, capfd):
    for name, value in {**SECRETS, "CEM_HOME": str(company / "var"), "CEM_CONFIG": str(company / "cem.yml")}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(load, "EXTRACTION_RETRY", dg.RetryPolicy(max_retries=0))
    settings = load_settings()

    with instance(settings) as found:
        # A database that does not answer, a failing webhook, rows in quarantine.
        broken = build_defs(load_settings(company / "with_crm.yml"))
        result = broken.resolve_job_def("daily").execute_in_process(instance=found, raise_on_error=False)
        assert "cannot reach the postgres database" in failures(result)
        assert notify(settings.notify, "run failed", failures(result)) == []
        wrong = settings.notify.model_copy(update={"webhook": SecretStr(f"no address {SECRETS['CANARY_HOOK']}")})
        assert notify(wrong, "run failed", failures(result)) == []

        # A run that publishes. Both configurations write their models to one folder, so this one comes last.
        defs = build_defs(settings)
        assert defs.resolve_job_def("daily").execute_in_process(instance=found, raise_on_error=False).success
        assert published(settings, "select count(*), count(distinct customer_id) from marts.fct_ticket") == [
            (TICKETS, TICKETS)
        ]

        # A model and a test of dbt that fail on values.
        for query in ("cast(full_name as integer)", "strptime(email, '%Y')"):
            inline = f"select {query} from {{{{ ref('int_person_record__collected') }}}}"
            assert not transform.command(settings, ["show", "--inline", inline])

        # A step that fails on a value, with its trace in the event log.
        monkeypatch.setattr("orchestration.defs.identity.builds.is_up_to_date", fail_on_a_value)
        identity = defs.resolve_job_def("daily").execute_in_process(
            instance=found, raise_on_error=False, op_selection=["resolve_identity"]
        )
        assert "does not fit what is done with it" in failures(identity)
        monkeypatch.undo()

    for name, value in {**SECRETS, "CEM_HOME": str(company / "var"), "CEM_CONFIG": str(company / "cem.yml")}.items():
        monkeypatch.setenv(name, value)
    # A held load, and what operators see of it.
    (company / "in" / "people_2.csv").write_text(people(bad=40).replace("zahra@", "zahra2@"))
    assert main(["run"]) == 1
    assert main(["load", "list"]) == 0
    assert main(["quarantine", "list"]) == 0
    assert main(["check"]) == 0
    printed = capfd.readouterr()

    with duckdb.connect(str(settings.warehouse), read_only=True) as con:
        assert con.execute("select count(*) from quarantine.rows").fetchone()[0] >= 3
        assert con.execute("select count(*) from ops.loads where status = 'held'").fetchone() == (1,)
    found = leaks(settings.home, (*SECRETS.values(), *PERSONAL))
    found += [f"printed: {word}" for word in (*SECRETS.values(), *PERSONAL) if word in printed.out + printed.err]
    assert found == []
    assert published_leaks(settings, (*SECRETS.values(), *PERSONAL[:-1])) == []


def fail_on_a_value(con, *_):
    con.execute("select full_name::integer from intermediate.int_person_record__collected").fetchall()


def leaks(home, words):
    """Files of the state folder that hold a word, but for the warehouse and what is published (read by SQL).

    In `pages` are the last answers of an API as they came, persons too: they are a part of the source.
    """
    found = []
    for path in home.rglob("*"):
        inside = path.relative_to(home).parts
        if not path.is_file() or inside[0] in ("warehouse.duckdb", "extensions", "published", "snapshots"):
            continue
        content = path.read_bytes()
        for word in words if inside[0] != "pages" else set(words) - set(PERSONAL):
            # JSON may write Persian letters as escapes.
            for form in (word, word.encode("unicode_escape").decode()):
                if form.encode() in content:
                    found.append(f"{'/'.join(inside)}: {word}")
    return found


def published(settings, query):
    with duckdb.connect(str(settings.published / "cem.duckdb"), read_only=True) as con:
        return con.execute(query).fetchall()


def published_leaks(settings, words):
    found = []
    with duckdb.connect(str(settings.published / "cem.duckdb"), read_only=True) as con:
        tables = con.execute("select schema_name, table_name from duckdb_tables() where not internal").fetchall()
        assert len(tables) > 20
        for schema, table in tables:
            text = str(con.execute(f'select * from "{schema}"."{table}"').fetchall())
            found += [f"{schema}.{table}: {word}" for word in words if word.lower() in text.lower()]
    return found
