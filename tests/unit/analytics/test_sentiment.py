"""Sentiment on a warehouse of made-up texts, Persian and English: who judges, how well, and what a second run does."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import duckdb
import numpy as np
import pytest
from sklearn.metrics import f1_score

from orchestration.analytics.sentiment import CLASSES, FEATURES, Model, build_sentiment, fit, quality

NOW, LATER = datetime(2025, 1, 1), datetime(2025, 2, 1)
THINGS = ["ارسال", "بسته بندی", "کیفیت کالا", "پشتیبانی", "قیمت", "رنگ محصول", "سایت شما", "پیک"]
PEOPLE = ["خیلی", "واقعا", "برای من", "این بار", "مثل همیشه", "به نظرم", "متاسفانه یا خوشبختانه"]
FEELINGS = {
    "positive": ["عالی بود", "راضی هستم", "خوب و سریع بود", "ممنونم از شما", "بی نظیر است"],
    "negative": ["افتضاح بود", "ناراضی هستم", "بد و کند بود", "پشیمان شدم", "خراب است"],
}
Given = tuple[str, str, str | None]


def persian(label: str, count: int, seed: int = 1) -> list[Given]:
    """Distinct opinions in Persian: language, text, label."""
    rng, texts = random.Random(seed), set()
    while len(texts) < count:
        words = [rng.choice(PEOPLE), rng.choice(THINGS), rng.choice(FEELINGS[label]), f"کد {rng.randrange(999)}"]
        texts.add(" ".join(words))
    return [("fa", text, label) for text in sorted(texts)]


class Texts:
    """A warehouse that holds only collected texts, and the judgement of them."""

    def __init__(self) -> None:
        self.con = duckdb.connect()
        self.con.execute(
            "create schema intermediate; create table intermediate.int_text__collected"
            " (text_id text, language text, text text, label text)"
        )

    def add(self, rows: list[Given]) -> None:
        """Texts with their label, or None."""
        self.con.executemany(
            "insert into intermediate.int_text__collected values (?, ?, ?, ?)",
            [[hashlib.md5(repr(row[:2]).encode()).hexdigest(), *row] for row in rows],
        )

    def remove(self, text: str) -> None:
        """A text whose record is gone."""
        self.con.execute("delete from intermediate.int_text__collected where text = ?", [text])

    def sentiment(self, text: str) -> tuple[Any, ...] | None:
        """Sentiment and who says so."""
        return self.con.execute(
            "select distinct s.sentiment, s.method from sentiment.text_score as s"
            " inner join intermediate.int_text__collected as t on s.text_id = t.text_id where t.text = ?",
            [text],
        ).fetchone()

    def model(self, language: str) -> dict[str, Any]:
        """What is known of the judge of a language."""
        found = self.con.execute("from sentiment.model where language = ?", [language])
        return dict(zip([column[0] for column in found.description], found.fetchone(), strict=True))


@pytest.fixture
def texts() -> Iterator[Texts]:
    made = Texts()
    yield made
    made.con.close()


def test_each_language_has_the_judge_its_texts_allow(texts: Texts) -> None:
    """A model from 100 scored texts a class, vader for English, nobody for the rest; the quality beside it."""
    texts.add(persian("positive", 110) + persian("negative", 100))
    texts.add([("fa", "پشتيباني عالي بود", None), ("fa", "پیک شما افتضاح بود", None)])  # Arabic yeh and kaf
    texts.add([("en", "The support was great, I love it!", "positive"), ("en", "Terrible, I hate it.", "negative")])
    texts.add([("en", "It arrived on Tuesday.", None), ("fr", "Très bien", "positive")])
    result = build_sentiment(texts.con, NOW)
    assert (result.texts, result.scored, result.fitted) == (216, 216, ("fa",))
    assert texts.sentiment("پشتيباني عالي بود") == ("positive", "model")
    assert texts.sentiment("پیک شما افتضاح بود") == ("negative", "model")
    assert texts.sentiment("The support was great, I love it!") == ("positive", "vader")
    assert texts.sentiment("Terrible, I hate it.") == ("negative", "vader")
    assert texts.sentiment("It arrived on Tuesday.") == ("neutral", "vader")
    assert texts.sentiment("Très bien") == ("unknown", "none")

    persian_model = texts.model("fa")
    assert persian_model["macro_f1_low"] <= persian_model["macro_f1"] <= persian_model["macro_f1_high"]
    assert persian_model["macro_f1"] > 0.95
    assert (persian_model["trained_count"], persian_model["evaluated_count"]) == (210, 210)
    assert (persian_model["features"], persian_model["trained_at"]) == (FEATURES, NOW)
    assert (texts.model("en")["method"], texts.model("en")["macro_f1"], texts.model("en")["evaluated_count"]) == (
        "vader",
        1.0,
        2,
    )
    assert texts.model("fr")["method"] == "none"


def test_only_new_texts_are_judged_until_the_training_set_has_changed(texts: Texts) -> None:
    """Equal texts: nothing. A few new ones: by the model that is there. A tenth of new scores: another model."""
    texts.add(persian("positive", 110) + persian("negative", 110))
    build_sentiment(texts.con, NOW)
    again = build_sentiment(texts.con, LATER)
    assert (again.scored, again.fitted, texts.model("fa")["trained_at"]) == (0, (), NOW)

    texts.add([("fa", "قیمت عالی بود", None), *persian("positive", 15, seed=2)])
    some = build_sentiment(texts.con, LATER)
    assert (some.scored, some.fitted) == (16, ())
    assert texts.sentiment("قیمت عالی بود") == ("positive", "model")

    texts.add(persian("negative", 15, seed=3))
    refitted = build_sentiment(texts.con, LATER)
    assert (refitted.scored, refitted.fitted) == (refitted.texts, ("fa",))
    assert texts.model("fa")["trained_at"] == LATER


def test_what_is_gone_leaves_nothing(texts: Texts) -> None:
    """The score of an erased text goes with it; without enough texts the model goes and its judgements too."""
    rows = persian("positive", 100) + persian("negative", 100)
    texts.add([*rows, ("fa", "ارسال عالی بود", None)])
    build_sentiment(texts.con, NOW)
    texts.remove(rows[0][1])
    build_sentiment(texts.con, LATER)
    assert texts.sentiment("ارسال عالی بود") == ("unknown", "none")
    assert texts.con.execute("select count(*) from sentiment.text_score").fetchone() == (200,)
    for table in ("model_weight", "training_text"):
        assert texts.con.execute(f"select count(*) from sentiment.{table}").fetchone() == (0,)


def test_equal_texts_give_equal_judgements() -> None:
    """Another warehouse, filled in another order, comes to the same scores to the last digit."""
    found = []
    for order in (1, -1):
        texts = Texts()
        texts.add([*(persian("positive", 100) + persian("negative", 100))[::order], ("fa", "رنگ محصول", None)])
        build_sentiment(texts.con, NOW)
        found.append(
            texts.con.execute("select text_id, sentiment, score from sentiment.text_score order by 1").fetchall()
        )
        texts.con.close()
    assert found[0] == found[1]


def test_a_stored_model_judges_as_the_fitted_one() -> None:
    """Packing keeps classes and, to 32 bits, weights; with middling texts there are three classes."""
    rows = persian("positive", 40) + persian("negative", 40)
    middling = [f"{thing} معمولی بود کد {number}" for number, thing in enumerate(THINGS * 5)]
    model, measured = fit([row[1] for row in rows] + middling, [str(row[2]) for row in rows] + ["neutral"] * 40)
    names, score = model.judge(["قیمت معمولی بود", "پیک بی نظیر است", "سایت شما خراب است"])
    assert names == ["neutral", "positive", "negative"]
    assert score[1] > score[0] > score[2]
    assert measured.n == 120
    stored_names, stored_score = Model.unpacked(model.packed()).judge(["قیمت معمولی بود", "پیک بی نظیر است"])
    assert stored_names == names[:2]
    assert stored_score == pytest.approx(score[:2], abs=1e-4)


def test_quality_is_the_macro_f1_of_the_library() -> None:
    """Over the labelled classes: a neutral answer where no text is neutral is a miss, not a class of its own."""
    rng = np.random.default_rng(7)
    truth = rng.choice(["negative", "positive"], 300)
    predicted = np.where(rng.random(300) < 0.7, truth, rng.choice(CLASSES, 300))
    measured = quality(truth, predicted)
    library = f1_score(truth, predicted, labels=["negative", "positive"], average="macro")
    assert measured.macro_f1 == pytest.approx(library)
    assert measured.low < library < measured.high
    assert measured.high - measured.low < 0.15
