"""An explanation as one page to open in a browser, offline: verdict, ties, and the weights as a waterfall.

Everything that comes from records is escaped. The page holds personal data, as the records do.

Does not belong here: what is explained (`explain`).
"""

from __future__ import annotations

from html import escape

from orchestration.identity.explain import Explanation, Weight

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 52rem; padding: 0 1rem; color: #1c2430 }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2rem }
table { border-collapse: collapse; width: 100% } td, th { padding: .25rem .5rem; text-align: start }
th { border-bottom: 1px solid #aab } td.number { text-align: end; font-variant-numeric: tabular-nums }
td.chart { width: 45% } svg { display: block; width: 100%; height: 1.2rem }
.for { fill: #2a7f62 } .against { fill: #b5483a } .total { fill: #3a5a9b } .zero { stroke: #889; stroke-width: .3 }
"""


def page(said: Explanation) -> str:
    """The explanation as HTML, complete in itself."""
    a, b = _bidi(said.person_key_a), _bidi(said.person_key_b)
    verdict = "One customer" if said.is_same else "Two customers"
    ids = {said.customer_id_a: None, said.customer_id_b: None}
    shared = [f"{item.kind} {item.value}: {item.outcome}" for item in said.shared] or ["nothing"]
    path = [f"{step.from_person_key} – {step.to_person_key}: {step.kind} {step.value}" for step in said.path]
    refused = [f"{one} – {other}: {reason}" for one, other, reason in said.refused]
    names = ["(no name)" if name is None else name for name in said.names]
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{verdict}</title><style>{_STYLE}</style></head><body>
<h1>{verdict}: {a} and {b}</h1>
<p>{" and ".join(_bidi(each) for each in ids)}. Names as compared: {" and ".join(_bidi(name) for name in names)}.</p>
{_list("What both have", shared)}
{_list("How they are tied", path)}
{_list("Ties that a guard refused", refused)}
{_list("What people decided", list(said.decisions))}
<h2>How the model weighs the two: {said.weight.bits:+.1f} bits, {said.weight.probability:.2%} one human</h2>
{_waterfall(said.weight)}
<p>A bit more doubles the odds, a bit less halves them; at zero they are even.</p>
</body></html>
"""


def _bidi(text: str) -> str:
    return f"<bdi>{escape(text)}</bdi>"


def _list(title: str, items: list[str]) -> str:
    if not items:
        return ""
    return f"<h2>{title}</h2><ul>" + "".join(f"<li>{_bidi(item)}</li>" for item in items) + "</ul>"


def _waterfall(weight: Weight) -> str:
    steps = [("two records at random", "", weight.prior_bits)]
    steps += [(each.comparison, each.level, each.bits) for each in weight.outcomes]
    sums = [0.0]
    for _, _, bits in steps:
        sums.append(sums[-1] + bits)
    low, high = min(sums), max(sums)
    scale = 100 / ((high - low) or 1)
    zero = (0 - low) * scale

    def bar(start: float, end: float, kind: str) -> str:
        left, width = (min(start, end) - low) * scale, abs(end - start) * scale
        return (
            '<svg viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">'
            f'<line class="zero" x1="{zero:.2f}" x2="{zero:.2f}" y1="0" y2="6"/>'
            f'<rect class="{kind}" x="{left:.2f}" y="1" width="{max(width, 0.4):.2f}" height="4"/></svg>'
        )

    rows = [
        f'<tr><td>{escape(what)}</td><td>{escape(level)}</td><td class="number">{bits:+.1f}</td>'
        f'<td class="chart">{bar(sums[at], sums[at + 1], "for" if bits >= 0 else "against")}</td></tr>'
        for at, (what, level, bits) in enumerate(steps)
    ]
    rows.append(
        f'<tr><th>together</th><th></th><td class="number">{weight.bits:+.1f}</td>'
        f'<td class="chart">{bar(0.0, weight.bits, "total")}</td></tr>'
    )
    head = "<tr><th>compared</th><th>found</th><th>bits</th><th></th></tr>"
    return f"<table>{head}{''.join(rows)}</table>"
