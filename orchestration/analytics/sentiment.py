"""Sentiment of what customers write: comments on surveys, messages on tickets, mentions; in any language.

Texts are the rows of `intermediate.int_text__collected`: equal texts of one language are one text, known by its hash.
How a text is judged depends on its language:

- **model**, once the company's own scored texts (the label of `int_text__collected`: answers at the ends of their
  scale, promoters, detractors) hold 100 negative and 100 positive ones: a linear support vector machine on character
  and word n-grams of the normalised text. The middle of a scale is a third class once it has 100 texts; with two
  classes, what lies between them is neutral.
- **vader** for English below that: the lexicon and rules of vaderSentiment.
- **none** for the rest: unknown, and facts fall back on the source's own label.

A model is as good as its macro-F1 in five-fold cross-validation says, which is stored beside it with a bootstrap
interval; vader is measured on the same labelled texts. A model is fitted anew when texts added to, dropped from or
relabelled in its training set come to a tenth of it; otherwise only new texts are judged, by the model that is there.
Everything is seeded: equal texts give equal models and equal scores.

Belongs here: languages, features, fit, scores and the tables of the schema `sentiment`. Does not belong here: which
texts there are and what label a score implies (`int_text__collected`), and how facts use it.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import numpy.typing as npt

from orchestration.identity.normalise import running_text_sql

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

TABLES = {
    "text_score": "One row per distinct text, by its hash: what it expresses, and who says so. Holds no text.",
    "model": "One row per language: how its texts are judged, and how well.",
    "model_weight": "One row per language with a model: its weights, as compressed arrays.",
    "training_text": "One row per text a model was fitted on, by its hash, with its label.",
}
"""The tables of the schema `sentiment` and what they hold."""

MIN_TEXTS_PER_CLASS = 100
"""Below, a model of tens of thousands of n-grams learns the texts by heart."""

MAX_TRAINING_TEXTS = 20_000
"""More texts of a language add little; the choice follows their hashes, which is as good as random."""

REFIT_SHARE = 0.1
"""Share of the training set that must have changed before a model is fitted anew."""

NEUTRAL_MARGIN = 0.2
"""With two classes, a text closer to the boundary than this (the classes begin at 1) is neutral."""

FEATURES = "character 2-5-grams and word 1-2-grams, hashed, sublinear tf-idf; linear SVM, version 1"
"""What a model sees. Another wording is another model: it is fitted anew."""

CLASSES = ("negative", "neutral", "positive")

_CHARACTER_FEATURES, _WORD_FEATURES = 2**18, 2**17
_FOLDS = 5
_RESAMPLES = 2_000
_BATCH = 20_000
_VADER_THRESHOLD = 0.05

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Quality:
    """Macro-F1 over the labelled classes, with its 95 % interval and the number of texts it was measured on."""

    macro_f1: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Model:
    """A fitted model: one row of weights per class, on features weighted by `idf`."""

    classes: tuple[str, ...]
    idf: Floats
    weights: Floats
    intercepts: Floats

    def margins(self, texts: Sequence[str]) -> Floats:
        """Distance from the boundary of each class, one row per text."""
        found: Floats = weighted(features(texts), self.idf) @ self.weights.T + self.intercepts
        return found

    def judge(self, texts: Sequence[str]) -> tuple[list[str], Floats]:
        """Class and score from -1 (negative) to 1 (positive) of each text."""
        return judged(self.margins(texts), self.classes)

    def packed(self) -> bytes:
        """The model as compressed arrays; weights as 32-bit floats."""
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            classes=np.array(self.classes),
            idf=self.idf.astype(np.float32),
            weights=self.weights.astype(np.float32),
            intercepts=self.intercepts,
        )
        return buffer.getvalue()

    @classmethod
    def unpacked(cls, data: bytes) -> Model:
        """The model as it was packed."""
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return cls(
                tuple(str(name) for name in arrays["classes"]),
                arrays["idf"].astype(float),
                arrays["weights"].astype(float),
                arrays["intercepts"].astype(float),
            )


@dataclass(frozen=True, slots=True)
class SentimentResult:
    """What a run did: distinct texts, how many of them were judged anew, and the languages fitted anew."""

    texts: int
    scored: int
    fitted: tuple[str, ...]


def features(texts: Sequence[str]) -> csr_matrix:
    """Counts of hashed n-grams, damped: 1 + ln(count). One row per text."""
    from scipy import sparse
    from sklearn.feature_extraction.text import HashingVectorizer

    parts = []
    for options in (
        {"analyzer": "char_wb", "ngram_range": (2, 5), "n_features": _CHARACTER_FEATURES},
        {"analyzer": "word", "ngram_range": (1, 2), "n_features": _WORD_FEATURES, "token_pattern": r"\S+"},
    ):
        counts = HashingVectorizer(norm=None, alternate_sign=False, lowercase=False, **options).transform(texts)
        counts.data = 1 + np.log(counts.data)
        parts.append(counts)
    return sparse.hstack(parts, format="csr")


def inverse_frequency(counts: csr_matrix) -> Floats:
    """Smoothed inverse document frequency of each feature: ln((1 + texts) / (1 + texts with it)) + 1."""
    frequency = np.bincount(counts.indices, minlength=counts.shape[1])
    found: Floats = np.log((1 + counts.shape[0]) / (1 + frequency)) + 1
    return found


def weighted(counts: csr_matrix, idf: Floats) -> csr_matrix:
    """Counts times idf, each text of length 1."""
    from sklearn.preprocessing import normalize

    scaled = counts.copy()
    scaled.data = scaled.data * idf[scaled.indices]
    return normalize(scaled, copy=False)


def judged(margins: Floats, classes: Sequence[str]) -> tuple[list[str], Floats]:
    """Class and score from -1 to 1 of each row of margins (one column per class)."""
    places = {name: place for place, name in enumerate(classes)}
    score = np.tanh((margins[:, places["positive"]] - margins[:, places["negative"]]) / 2)
    if "neutral" in places:
        return [classes[place] for place in margins.argmax(axis=1)], score
    bound = np.tanh(NEUTRAL_MARGIN)
    return ["neutral" if abs(x) < bound else "positive" if x > 0 else "negative" for x in score], score


def fit(texts: Sequence[str], labels: Sequence[str]) -> tuple[Model, Quality]:
    """Fit a model on labelled texts, and measure it in cross-validation.

    Args:
        texts: Distinct normalised texts.
        labels: Class of each, at least `_FOLDS` of each class.
    """
    from sklearn.model_selection import StratifiedKFold

    counts, truth = features(texts), np.array(labels)
    predicted = np.empty(len(truth), dtype=object)
    for train, test in StratifiedKFold(_FOLDS, shuffle=True, random_state=0).split(counts, truth):
        fold = _fitted(counts[train], truth[train])
        margins = weighted(counts[test], fold.idf) @ fold.weights.T + fold.intercepts
        predicted[test] = judged(margins, fold.classes)[0]
    return _fitted(counts, truth), quality(truth, predicted)


def _fitted(counts: csr_matrix, labels: npt.NDArray[Any]) -> Model:
    from sklearn.svm import LinearSVC

    idf = inverse_frequency(counts)
    machine = LinearSVC(C=0.5, class_weight="balanced", random_state=0).fit(weighted(counts, idf), labels)
    weights, intercepts = machine.coef_, machine.intercept_
    if len(machine.classes_) == 2:  # one boundary between two classes
        weights, intercepts = np.vstack([-weights, weights]), np.concatenate([-intercepts, intercepts])
    return Model(tuple(str(name) for name in machine.classes_), idf, weights, intercepts)


def quality(truth: npt.NDArray[Any], predicted: npt.NDArray[Any]) -> Quality:
    """Macro-F1 over the classes of `truth`; its interval from resampled confusion tables (seeded bootstrap)."""
    classes = sorted(set(truth.tolist()))
    table = np.array([[((truth == a) & (predicted == b)).sum() for b in CLASSES] for a in classes])
    n = int(table.sum())
    resampled = np.random.default_rng(0).multinomial(n, table.ravel() / n, _RESAMPLES).reshape(-1, *table.shape)
    low, high = np.quantile(_macro_f1(resampled, classes), [0.025, 0.975])
    return Quality(float(_macro_f1(table[None], classes)[0]), float(low), float(high), n)


def _macro_f1(tables: npt.NDArray[np.int64], classes: Sequence[str]) -> Floats:
    """Macro-F1 of confusion tables (rows: true classes; columns: `CLASSES`)."""
    columns = [CLASSES.index(name) for name in classes]
    hits = tables[:, np.arange(len(classes)), columns]
    true, claimed = tables.sum(axis=2), tables.sum(axis=1)[:, columns]
    found: Floats = (2 * hits / np.maximum(true + claimed, 1)).mean(axis=1)
    return found


def judge_english(texts: Sequence[str]) -> tuple[list[str], Floats]:
    """Class and compound score of English texts as written, by vaderSentiment and its own thresholds."""
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    analyzer = SentimentIntensityAnalyzer()
    score = np.array([analyzer.polarity_scores(text)["compound"] for text in texts], dtype=float)
    names = [
        "positive" if x >= _VADER_THRESHOLD else "negative" if x <= -_VADER_THRESHOLD else "neutral" for x in score
    ]
    return names, score


def ensure_schema(con: duckdb.DuckDBPyConnection) -> None:
    """Create the tables of `TABLES` where they are missing."""
    con.execute("""
        create schema if not exists sentiment;
        create table if not exists sentiment.text_score (
            text_id text not null, language text not null, sentiment text not null, score double,
            method text not null, scorer text not null
        );
        create table if not exists sentiment.model (
            language text not null, method text not null, text_count bigint not null, negative_count bigint not null,
            neutral_count bigint not null, positive_count bigint not null, trained_count bigint, macro_f1 double,
            macro_f1_low double, macro_f1_high double, evaluated_count bigint, features text, trained_at timestamp,
            scorer text not null
        );
        create table if not exists sentiment.model_weight (language text not null, weights blob not null);
        create table if not exists sentiment.training_text (
            language text not null, text_id text not null, label text not null
        );
    """)


def build_sentiment(con: duckdb.DuckDBPyConnection, now: datetime) -> SentimentResult:
    """Judge every text that is new or whose judge is, after fitting the models that need it.

    Args:
        con: The warehouse, open for writing and not in a transaction, with `intermediate.int_text__collected`.
        now: The moment models are said to be trained at (UTC).
    """
    ensure_schema(con)
    _collect(con)
    fitted: dict[str, tuple[Model, Quality]] = {}
    rows = []
    for language, *counts in con.execute("""
        select
            language,
            count(*),
            count(*) filter (where label = 'negative'),
            count(*) filter (where label = 'neutral'),
            count(*) filter (where label = 'positive')
        from sentiment_text
        group by language
        order by language
    """).fetchall():
        if min(counts[1], counts[3]) >= MIN_TEXTS_PER_CLASS:
            kept = _kept(con, language)
            if kept is None:
                fitted[language] = fit(*_training_set(con, language))
                measured = fitted[language][1]
                about = (measured.n, measured.macro_f1, measured.low, measured.high, measured.n, FEATURES, now)
                scorer = f"model {language} {now.isoformat()}"
            else:
                *about, scorer = kept  # type: ignore[assignment]
            rows.append((language, "model", *counts, *about, scorer))
        else:
            method = "vader" if language == "en" else "none"
            rows.append((language, method, *counts, *[None] * 7, method))
    scored = _score(con, rows, {language: model for language, (model, _) in fitted.items()})
    _write(con, rows, fitted)
    texts_count = sum(int(row[2]) for row in rows)
    return SentimentResult(texts_count, scored, tuple(fitted))


def _collect(con: duckdb.DuckDBPyConnection) -> None:
    """Temporary table `sentiment_text`: one row per distinct text; a label only where all its scores agree."""
    con.execute(f"""
        create or replace temp table sentiment_text as
        select
            text_id,
            any_value(language) as language,
            any_value(text) as text,
            case when count(distinct label) = 1 then min(label) end as label
        from intermediate.int_text__collected
        group by text_id;
        create or replace temp table sentiment_training as
        with labelled as (
            select *, count(*) filter (where label = 'neutral') over (partition by language) as neutral_count
            from sentiment_text
            where label is not null
        )
        select language, text_id, label, {running_text_sql("text")} as text
        from labelled
        where label <> 'neutral' or neutral_count >= {MIN_TEXTS_PER_CLASS}
        qualify row_number() over (partition by language order by text_id) <= {MAX_TRAINING_TEXTS};
    """)


def _kept(con: duckdb.DuckDBPyConnection, language: str) -> tuple[Any, ...] | None:
    """What is known of the model that is there, without its counts; None when it must be fitted anew."""
    row = con.execute(
        """
        select trained_count, macro_f1, macro_f1_low, macro_f1_high, evaluated_count, features, trained_at, scorer
        from sentiment.model
        where language = ? and method = 'model' and features = ?
        """,
        [language, FEATURES],
    ).fetchone()
    if row is None:
        return None
    changed = con.execute(
        """
        select count(*) filter (where old.label is distinct from new.label) / greatest(count(old.text_id), 1)
        from (from sentiment.training_text where language = $language) as old
        full join (from sentiment_training where language = $language) as new on old.text_id = new.text_id
        """,
        {"language": language},
    ).fetchone()
    return row if changed is not None and changed[0] < REFIT_SHARE else None


def _training_set(con: duckdb.DuckDBPyConnection, language: str) -> tuple[list[str], list[str]]:
    rows = con.execute(
        "select text, label from sentiment_training where language = ? order by text_id", [language]
    ).fetchall()
    return [row[0] for row in rows], [row[1] for row in rows]


def _score(con: duckdb.DuckDBPyConnection, rows: Sequence[tuple[Any, ...]], fitted: dict[str, Model]) -> int:
    """Temporary table `sentiment_score` of the texts without a score by the present judge of their language."""
    con.execute("create or replace temp table sentiment_score as from sentiment.text_score limit 0")
    total = 0
    for row in rows:
        language, method, scorer = row[0], row[1], row[-1]
        for ids, normalised, texts in _unscored(con, language, scorer):
            if method == "model":
                if language not in fitted:
                    packed = con.execute(
                        "select weights from sentiment.model_weight where language = ?", [language]
                    ).fetchone()
                    fitted[language] = Model.unpacked(packed[0] if packed else b"")
                names, score = fitted[language].judge(normalised)
            elif method == "vader":
                names, score = judge_english(texts)
            else:
                names, score = ["unknown"] * len(ids), np.full(len(ids), np.nan)
            _append(con, ids, language, names, score, method, scorer)
            total += len(ids)
    return total


def _unscored(
    con: duckdb.DuckDBPyConnection, language: str, scorer: str
) -> Iterator[tuple[list[str], list[str], list[str]]]:
    """Hashes, normalised texts and texts as written, in batches."""
    con.execute(
        f"""
        create or replace temp table sentiment_unscored as
        select row_number() over (order by text_id) as number, text_id, {running_text_sql("text")} as plain, text
        from sentiment_text
        where
            language = $language
            and text_id not in (select text_id from sentiment.text_score where scorer = $scorer)
        """,
        {"language": language, "scorer": scorer},
    )
    first = 0
    while batch := con.execute(
        "select text_id, plain, text from sentiment_unscored where number > ? and number <= ? order by number",
        [first, first + _BATCH],
    ).fetchall():
        yield [row[0] for row in batch], [row[1] for row in batch], [row[2] for row in batch]
        first += _BATCH


def _append(
    con: duckdb.DuckDBPyConnection,
    ids: list[str],
    language: str,
    names: list[str],
    score: Floats,
    method: str,
    scorer: str,
) -> None:
    import pyarrow as pa

    table = pa.table(
        {
            "text_id": pa.array(ids, pa.string()),
            "sentiment": pa.array(names, pa.string()),
            "score": pa.array(np.round(score, 6), pa.float64(), mask=~np.isfinite(score)),
        }
    )
    con.register("sentiment_batch", table)
    con.execute(
        "insert into sentiment_score select text_id, ?, sentiment, score, ?, ? from sentiment_batch",
        [language, method, scorer],
    )
    con.unregister("sentiment_batch")


def _write(
    con: duckdb.DuckDBPyConnection, rows: Sequence[tuple[Any, ...]], fitted: dict[str, tuple[Model, Quality]]
) -> None:
    """Everything in one transaction: scores of gone texts go, and models no language needs any more."""
    con.begin()
    try:
        con.execute("""
            delete from sentiment.text_score
            where
                text_id not in (select text_id from sentiment_text)
                or text_id in (select text_id from sentiment_score);
            insert into sentiment.text_score from sentiment_score;
            delete from sentiment.model;
        """)
        if rows:
            con.executemany(f"insert into sentiment.model values ({', '.join('?' * len(rows[0]))})", rows)
        for language, (model, _) in fitted.items():
            con.execute("delete from sentiment.model_weight where language = ?", [language])
            con.execute("delete from sentiment.training_text where language = ?", [language])
            con.execute("insert into sentiment.model_weight values (?, ?)", [language, model.packed()])
            con.execute(
                "insert into sentiment.training_text "
                "select language, text_id, label from sentiment_training where language = ?",
                [language],
            )
        for table in ("model_weight", "training_text"):
            con.execute(
                f"delete from sentiment.{table} "
                "where language not in (select language from sentiment.model where method = 'model')"
            )
        _measure_vader(con)
        con.commit()
    except BaseException:
        con.rollback()
        raise


def _measure_vader(con: duckdb.DuckDBPyConnection) -> None:
    """Put the quality of the lexicon on the company's own labelled texts beside it, where both ends are there."""
    pairs = con.execute("""
        select texts.label, scores.sentiment
        from sentiment_text as texts
        inner join sentiment.text_score as scores on texts.text_id = scores.text_id
        where scores.method = 'vader' and texts.label in ('negative', 'positive')
        order by texts.text_id
    """).fetchall()
    truth = np.array([pair[0] for pair in pairs], dtype=object)
    if len(set(truth.tolist())) == 2:
        measured = quality(truth, np.array([pair[1] for pair in pairs], dtype=object))
        con.execute(
            "update sentiment.model set macro_f1 = ?, macro_f1_low = ?, macro_f1_high = ?, evaluated_count = ? "
            "where method = 'vader'",
            [measured.macro_f1, measured.low, measured.high, measured.n],
        )
