"""A generated company to try everything on: a retailer with subscriptions, in Iran, Britain and America.

What it looks like after its 24 months of history:

- 2,000 customers by default, two thirds Persian-speaking; a seventh of them live in households that share
  address, family name and, mostly, a mail address; a seventh buy for a company. New ones join daily, twice
  as many at the end as at the beginning. 58 % subscribe.
- `crm.db` (SQLite, local time of Tehran, without declared keys): people, accounts, products, orders and
  their lines, opportunities and their stages, activities, subscriptions, loyalty events, consents.
  One customer in 25 has two records; copies are cleaned up in time and their orders move; some customers
  ask to be forgotten.
- `support/` (JSON Lines, UTC): tickets as they stood at the end of each period, their events (bot, private
  and public messages, hand-offs, reopens), agents, two business schedules with holidays. One requester in
  nine is there twice, some contacts return on the same issue, some of those are merged.
- `survey/` (CSV with semicolons, local time, day first): invitations, most of them never answered, and one
  row for each answer: relational NPS each quarter, CSAT and effort after tickets (the effort question
  changed scale and direction after a year), NPS and CSAT after orders, comments in Persian and English.
- `social/` (JSON Lines, UTC): posts by customers and strangers, reposts, a sentiment label on most posts,
  wrong on some.
- `web/` (Parquet, UTC): visitors (who sign in or not), visits, contacts of campaigns, help articles read.
- `_truth/`: who is who (`who_is_who.parquet`: source, record id, human) and what moves the customers
  (`customers.parquet`: traits, when they left, the true risk of leaving). No source, and never to be read
  by the pipeline.

History comes in one file a quarter, every later day in a file of its own; once written, files never change.

Behaviour hangs together through traits that no record shows. A satisfied customer buys more, asks for help
less and stays longer. A late first reply, a complaint, a hand-off or a reopened ticket spoils the contact;
a spoilt contact lowers CSAT, effort score, the next relational NPS and what is posted, and may drive the
customer out within weeks. Late deliveries lower the scores of orders; Azerbaijan and the North are served
worse. Shoppers come at weekends, before Nowruz and at the end of the year; the desk is busiest when the
working week begins. All of it with noise.

Names, mails and phones are as dirty as in life (case, blanks, plus-tags, Arabic letters and digits, joiners,
initials, swapped or missing names, typos, shared and role mailboxes, placeholders), and each system writes
the same human its own way. Two rows in a thousand are beyond repair (a score of 11, a negative amount, closed
before opened, no date, no key), and exports repeat rows.

The company is a pure function of (customers, seed, end, days): it is computed by SQL from hashes, so
`generate(days=30)` and `generate()` followed by `advance(30)` give the same records.
"""

from orchestration.demo.company import DemoCompany, DemoError, advance, generate, read

__all__ = ["DemoCompany", "DemoError", "advance", "generate", "read"]
