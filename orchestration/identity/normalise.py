r"""From values as written to keys that can be compared: mail, phone, name, address.

Every rule works on distinct values and in SQL; Python is asked only where a library must be (`phonenumbers`,
Unicode compatibility forms), and only for values not seen before.

Mail (`add_emails`): display names and `mailto:` cut, invisible signs and blanks removed, lower case, misspelt
    domains of big providers corrected, plus tags cut, dots of the local part dropped where the provider ignores
    them. NULL when what is left is no address. Mailboxes that many people answer are marked.
Phone (`learn_phones`): any digits to 0-9, extension cut, then E.164 by `phonenumbers` in the country of the
    record (what of it SQL can do is in `numbering`). NULL when no number of that country can have this length. Numbers
    that end in one repeated digit or in a run (0912 123 4567) are marked as placeholders. Placeholders without such a
    look show by their frequency: they become hubs in `edges`.
Name (`add_name_keys`): NFKC, accents and vowel signs removed, lower case, Arabic yeh and kaf to Persian, joiners
    (ZWNJ) and digits dropped, everything else that is no letter parts two tokens; titles and words that stand
    for "no name" removed. Three forms come out of it:
      - key: the tokens, `mohammadreza karimi`, `محمد رضا کریمی`;
      - fold: one spelling for sounds both scripts can write, `mohamadreza kareme`, `mhmd rza krem`;
      - skeleton: the fold without vowels and vowel carriers, `mhmdrz krm`, `mhmd rz krm`, where scripts meet.
Birth date (`birth_sql`): eight digits, year first.
National id, postal code (`code_sql`): letters and digits, in capitals, ASCII digits. NULL when it is a stand-in.
Street, city (`address_sql`): words and numbers, lower case, without accents, ASCII digits; the first number of a
    street is the house.

Does not belong here: who is whom.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

import duckdb
import phonenumbers
import pyarrow as pa

from orchestration.identity.numbering import plan_of

PLACEHOLDER_MAILBOXES = (
    "noreply",
    "donotreply",
    "noemail",
    "nomail",
    "none",
    "na",
    "null",
    "unknown",
    "anonymous",
    "test",
)
"""Local parts people type when they have no mail to give; they name nobody, whatever the domain."""

DOTLESS_DOMAINS = ("gmail.com",)
"""Providers that deliver `a.b@` and `ab@` to one mailbox."""

DOMAIN_SPELLINGS = {
    "googlemail.com": "gmail.com",
    "gamil.com": "gmail.com",
    "gmai.com": "gmail.com",
    "gmail.co": "gmail.com",
    "gmail.con": "gmail.com",
    "gmaill.com": "gmail.com",
    "gmial.com": "gmail.com",
    "gnail.com": "gmail.com",
    "hotmai.com": "hotmail.com",
    "hotmial.com": "hotmail.com",
    "hotmail.con": "hotmail.com",
    "outlok.com": "outlook.com",
    "outlook.con": "outlook.com",
    "yaho.com": "yahoo.com",
    "yahoo.con": "yahoo.com",
    "yahooo.com": "yahoo.com",
    "yhoo.com": "yahoo.com",
}
"""Other names and frequent misspellings of big mail domains; none of them offers mailboxes itself."""

TITLES = (
    "mr", "mrs", "ms", "miss", "mx", "dr", "prof", "eng", "ing", "sir", "madam", "herr", "frau", "sr", "sra", "mme",
    "seyed", "seyyed", "sayed", "sayyed", "seyedeh", "haj", "haji",
    "آقا", "آقای", "خانم", "خانوم", "دکتر", "مهندس", "استاد", "جناب", "سرکار", "سید", "سیده", "حاج",
)  # fmt: skip
"""Tokens that are written or left out at will. Dropped as long as another token remains."""

NOBODY_NAMES = (
    "test", "unknown", "anonymous", "guest", "customer", "client", "user", "na", "none", "null", "no name", "noname",
    "not available", "not provided", "n a", "ناشناس", "مشتری", "کاربر", "مهمان", "نامشخص", "تست", "بدون نام",
)  # fmt: skip
"""Names that mean no name was given, alone and in a row: Unknown Unknown, Guest User."""

NO_IDS = ("0", "-1", "na", "n/a", "none", "null", "nil", "unknown", "undefined", "-", "?")
"""Ids and codes that stand for a missing one."""

MIN_TYPO_LETTERS = 5
"""Shortest token in which one wrong letter is a slip: in shorter ones (Mina, Mona) it is another name."""

MIN_TWO_TYPOS_LETTERS = 9
"""Shortest token in which two wrong letters are slips."""

COUNTRY_CODES = {"UK": "GB", "EL": "GR"}
"""Codes by which people write a country that ISO 3166 knows by another one."""

MIN_PLAN_NUMBERS = 200
"""Numbers of a country from which SQL by its plan is worth compiling the patterns."""

LIBRARY_BATCH = 100_000
"""Numbers that are Python objects at one time."""

MAX_TOKENS = 8
"""Tokens kept of a name: more is an address or a sentence in the wrong field."""

_INVISIBLE = r"[\x{00AD}\x{061C}\x{200B}-\x{200F}\x{202A}-\x{202E}\x{2060}-\x{2069}\x{FEFF}]"
_MAIL_SHAPE = r"[^@\s<>()\[\],;:]+@[^@\s<>()\[\],;:.]+(\.[^@\s<>()\[\],;:.]+)*\.[^@\s<>()\[\],;:.\d]{2,}"

# Letters outside these blocks may be compatibility forms (presentation forms, full width, ligatures).
_NEEDS_NFKC = r"[^\x{0000}-\x{009F}\x{00C0}-\x{02AF}\x{0300}-\x{052F}\x{0600}-\x{06FF}\x{200C}\x{200D}\x{2019}]"
_DROPPED = r"[\x{00AD}\x{061C}\x{200B}-\x{200F}\x{202A}-\x{202E}\x{2060}-\x{2069}\x{FEFF}\x{0640}\p{M}\p{N}'’‘`´ʻʼ]"

# Letters that Unicode does not decompose, each with the plain spelling people use for it.
_LETTERS = (("ß", "ss"), ("æ", "ae"), ("œ", "oe"), ("þ", "th"))
_PLAIN_FROM, _PLAIN_TO = "øłđðıħيىكةھ" + "ہے", "oldd" + "ihییکهه" + "هی"

_NO_CODES = "|".join(sorted({code for text in NO_IDS if (code := re.sub(r"\W", "", text).upper())}))

_DIGITS_FROM = "۰۱۲۳۴۵۶۷۸۹٠١٢٣٤٥٦٧٨٩０１２３４５６７８９＋"
_DIGITS_TO = "012345678901234567890123456789+"

# One code per consonant sound; capitals stand for sounds that Latin writes with two letters.
_PERSIAN_FROM = "ابپتثجچحخدذرزژسشصضطظعغفقکگلمنوهیءئؤأإ"
_PERSIAN_TO = "abptsjChXdzrzjsSsztzaGfGkglmnohe" + "aeoaa"
_LATIN_SOUNDS = (
    ("tch", "C"), ("sch", "S"), ("kh", "X"), ("gh", "G"), ("sh", "S"), ("ch", "C"), ("zh", "j"), ("ph", "f"),
    ("th", "t"), ("ck", "k"), ("q", "G"), ("x", "ks"), ("c", "k"), ("w", "v"),
    ("ou", "o"), ("oo", "o"), ("u", "o"),
    ("ai", "e"), ("ae", "e"), ("ay", "e"), ("ei", "e"), ("ey", "e"), ("ie", "e"), ("ee", "e"), ("y", "e"), ("i", "e"),
)  # fmt: skip
_DOUBLED = "abCdeflgGhjkmnoprsStvXz"

_RUNS = ("01234567890123456789", "98765432109876543210")
_PLACEHOLDER_TAIL = 7
_NO_SEPARATORS = str.maketrans("", "", "._-")


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _in_list(words: Iterable[str]) -> str:
    return "(" + ", ".join(_literal(word) for word in words) + ")"


def _ascii_digits_sql(column: str) -> str:
    return f"translate({column}, '{_DIGITS_FROM}', '{_DIGITS_TO}')"


def _unless_ascii(column: str, otherwise: str) -> str:
    """SQL that leaves a text of as many letters as bytes as it is: the other way costs ten times as much."""
    return f"case when strlen({column}) = length({column}) then {column} else {otherwise} end"


def _replaced(expression: str, pairs: Iterable[tuple[str, str]]) -> str:
    for old, new in pairs:
        expression = f"replace({expression}, {_literal(old)}, {_literal(new)})"
    return expression


def add_emails(con: duckdb.DuckDBPyConnection, mails: str, target: str, role_mailboxes: Sequence[str]) -> None:
    """Make a dictionary of mails: temporary table `target` (text, email, is_role), one row per mail as written.

    `email` is the key of the mailbox (equal keys reach one mailbox) or NULL where the text is no address; `is_role`
    says that it belongs to a role, or to nobody, rather than to a person.

    Args:
        con: The warehouse.
        mails: Relation with a column `text` of mails as written; repeated and NULL ones are fine.
        target: Name of the temporary table to make.
        role_mailboxes: Local parts of role mailboxes; dots, dashes and underscores do not count.
    """
    roles = {name.lower().translate(_NO_SEPARATORS) for name in role_mailboxes} | set(PLACEHOLDER_MAILBOXES)
    spellings = ", ".join(f"{_literal(wrong)}: {_literal(right)}" for wrong, right in DOMAIN_SPELLINGS.items())
    con.execute(f"""
        create or replace temp table {target} as
        with bare as (
            select distinct text, coalesce(nullif(regexp_extract(text, '<([^<>]+)>', 1), ''), text) as bare
            from {mails}
            where text is not null
        ),
        cleaned as (
            select
                text,
                regexp_replace(
                    lower(translate(bare, '＠．', '@.')), '{_INVISIBLE}|\\s|^\\s*mailto:|[.,;]+\\s*$', '', 'g'
                ) as address,
            from bare
        ),
        parted as (
            select text, split_part(address, '@', 1) as local_part, split_part(address, '@', 2) as domain
            from cleaned
            where regexp_full_match(address, '{_MAIL_SHAPE}')
        ),
        plain as (
            select
                text,
                regexp_replace(local_part, '(.)\\+.*$', '\\1') as local_part,
                coalesce(map {{{spellings}}}[domain], domain) as domain,
            from parted
        ),
        keyed as (
            select
                text,
                case when domain in {_in_list(DOTLESS_DOMAINS)} then replace(local_part, '.', '') else local_part end
                    || '@' || domain as email,
                regexp_replace(local_part, '[._-]', '', 'g') in {_in_list(sorted(roles))} as is_role,
            from plain
        )
        select bare.text, keyed.email, coalesce(keyed.is_role, false) as is_role
        from bare
        left join keyed on bare.text = keyed.text
    """)


def phone_text_sql(column: str) -> str:
    """SQL for the digits (and leading plus) of a phone as written, without extension. NULL where too few are left.

    A spreadsheet's scientific notation has lost its last digits and is NULL as well.
    """
    ascii_digits = f"lower({_unless_ascii(column, _ascii_digits_sql(column))})"
    first = f"regexp_replace({ascii_digits}, '(ext|x|#|داخلی|;|,).*$|\\.0$', '')"
    # Behind a whole number a slash begins another one; in 030/1234567 it parts the area.
    cut = f"regexp_replace({first}, '(([0-9][^0-9/]*){{7}})/.*$', '\\1')"
    digits = f"regexp_replace({cut}, '[^0-9+]|(.)\\+', '\\1', 'g')"
    return f"""case
        when {column} is null or regexp_matches({column}, '(?i)\\de\\+?\\d') then null
        when length({digits}) >= 6 then {digits}
    end"""


def external_id_sql(column: str) -> str:
    """SQL for an external id; NULL for the usual stand-ins of a missing one."""
    return f"case when lower(trim({column})) not in {_in_list(NO_IDS)} then nullif(trim({column}), '') end"


def linked_person_key_sql(column: str) -> str:
    """SQL for the key (`<source>:<id>`) of a linked record; NULL where the id is a stand-in of a missing one."""
    linked_id = f"substr({column}, strpos({column}, ':') + 1)"
    return f"case when {external_id_sql(linked_id)} is not null then {column} end"


def running_text_sql(column: str) -> str:
    """Sentences in one spelling, for counting n-grams.

    Lower case, Arabic yeh and kaf to Persian, no vowel signs, joiners or accents, every digit 0, addresses and handles
    one word each, blanks single. Punctuation stays.
    """
    plain = f"lower(strip_accents(regexp_replace({column}, '{_INVISIBLE}|[\\x{{0640}}\\p{{M}}]', '', 'g')))"
    spelled = f"translate({_replaced(plain, _LETTERS)}, '{_PLAIN_FROM}', '{_PLAIN_TO}')"
    worded = f"regexp_replace(regexp_replace({spelled}, 'https?://\\S+', ' url ', 'g'), '@\\w+', ' at ', 'g')"
    return f"trim(regexp_replace(regexp_replace({worded}, '\\p{{N}}', '0', 'g'), '\\s+', ' ', 'g'))"


def name_fold_sql(key: str) -> str:
    """SQL for the fold of a name key: one letter a sound, for Latin and Persian spelling alike."""
    latin = _replaced(_replaced(key, _LATIN_SOUNDS), ((letter * 2, letter) for letter in _DOUBLED))
    return f"""case
        when regexp_matches({key}, '[\\x{{0600}}-\\x{{06FF}}]')
        then translate({key}, {_literal(_PERSIAN_FROM)}, {_literal(_PERSIAN_TO)})
        else {latin}
    end"""


def name_skeleton_sql(fold: str) -> str:
    """SQL for the skeleton of a fold: its consonants.

    Vowels go because Persian does not write the short ones; `v` because و is vowel and consonant; `h` at the end
    of a token because ه there is the sound e. Doubled consonants become one: Persian writes them once.
    """
    consonants = f"regexp_replace({fold}, '[aeov]|h( |$)', '\\1', 'g')"
    return _replaced(consonants, ((letter * 2, letter) for letter in _DOUBLED if letter not in "aeov"))


def add_name_keys(con: duckdb.DuckDBPyConnection, names: str, target: str) -> None:
    """Make a dictionary of names: temporary table `target`, one row per name as written.

    Columns: `name`; `name_key`; `name_skeleton` and `name_fold`, the parts sorted and joined; `given`,
    `family` and the fold and skeleton of each, where the last token counts as the family name and a single one
    is a family name; `is_persian`, whether it is written in Arabic letters.

    Args:
        con: The warehouse.
        names: Relation with a column `name` of names as written; repeated and NULL names are fine.
        target: Name of the temporary table to make.
    """
    con.execute(
        f"create or replace temp table {target}_raw as select distinct name from {names} where name is not null"
    )
    odd = con.execute(f"select name from {target}_raw where regexp_matches(name, '{_NEEDS_NFKC}')").to_arrow_table()
    spelled = [unicodedata.normalize("NFKC", name) for name in odd.column("name").to_pylist()]
    # Both lists are compared in the form of the tokens.
    titles = _in_list(sorted({title.replace("آ", "ا") for title in TITLES}))
    nobody = _literal(f"(({'|'.join(NOBODY_NAMES)})( |$))+")
    con.register("identity_nfkc", odd.append_column("nfkc", pa.array(spelled, pa.string())))
    con.execute(f"""
        create or replace temp table {target} as
        with composed as (
            select raw.name, coalesce(nfkc.nfkc, raw.name) as nfkc
            from {target}_raw as raw
            left join identity_nfkc as nfkc on raw.name = nfkc.name
        ),
        -- Accents go after the odd letters are dropped; what strip_accents leaves of hamza carriers is Arabic yeh.
        lowered as (
            select name, lower(strip_accents(regexp_replace(nfkc, {_literal(_DROPPED)}, '', 'g'))) as lowered
            from composed
        ),
        plain as (
            select name, translate({_replaced("lowered", _LETTERS)}, '{_PLAIN_FROM}', '{_PLAIN_TO}') as plain
            from lowered
        ),
        tokens as (
            select name, string_split(trim(regexp_replace(plain, '[^\\p{{L}}]+', ' ', 'g')), ' ') as tokens
            from plain
        ),
        untitled as (
            select name, tokens, list_filter(tokens, lambda token: token not in {titles}) as kept
            from tokens
        ),
        joined as (
            select
                name,
                array_to_string(
                    list_slice(case when len(kept) > 0 then kept else tokens end, 1, {MAX_TOKENS}), ' '
                ) as joined,
            from untitled
        ),
        keyed as (
            select
                name,
                case
                    when regexp_full_match(joined, {nobody}) then null
                    -- One letter names nobody, except in Chinese characters.
                    when length(joined) >= 2 or regexp_matches(joined, '\\p{{Han}}') then joined
                end as name_key,
            from joined
        ),
        folded as (select name, name_key, {name_fold_sql("name_key")} as fold from keyed),
        consonants as (select name, name_key, fold, {name_skeleton_sql("fold")} as skeleton from folded),
        parts as (
            select name, name_key, string_split(fold, ' ') as folds, string_split(skeleton, ' ') as skeletons
            from consonants
        )
        -- Sorted, so that reversed names meet; joined, so that names written in one word or two often do.
        select
            name,
            name_key,
            array_to_string(list_sort(skeletons), '') as name_skeleton,
            array_to_string(list_sort(folds), '') as name_fold,
            nullif(array_to_string(string_split(name_key, ' ')[:-2], ''), '') as given,
            string_split(name_key, ' ')[-1] as family,
            nullif(array_to_string(folds[:-2], ''), '') as given_fold,
            nullif(array_to_string(skeletons[:-2], ''), '') as given_skeleton,
            folds[-1] as family_fold,
            skeletons[-1] as family_skeleton,
            regexp_matches(name_key, '[\\x{{0600}}-\\x{{06FF}}]') as is_persian,
        from parts
    """)
    con.unregister("identity_nfkc")
    con.execute(f"drop table {target}_raw")


def birth_sql(column: str) -> str:
    """SQL for a birth date, given as a date or as text, as eight digits; NULL where they are not eight."""
    digits = f"regexp_replace({_ascii_digits_sql(f'{column}::text')}, '[^0-9]', '', 'g')"
    return f"case when length({digits}) = 8 then {digits} end"


def code_sql(column: str) -> str:
    """SQL for a national id or postal code: its letters and digits, in capitals.

    NULL where there are none, or only those of a stand-in for a missing one: zeros, N/A, unknown.
    """
    capitals = f"upper({_unless_ascii(column, _ascii_digits_sql(column))})"
    code = f"regexp_replace({capitals}, '[^\\p{{L}}\\p{{N}}]', '', 'g')"
    return f"nullif(regexp_replace({code}, '^(0*|{_NO_CODES})$', ''), '')"


def address_sql(column: str) -> str:
    """SQL for a street or city: its words and numbers, lower case, one letter shape for Arabic and Persian."""
    plain = f"translate(lower(strip_accents({_ascii_digits_sql(column)})), '{_PLAIN_FROM}', '{_PLAIN_TO}')"
    words = f"regexp_replace(lower({_unless_ascii(column, plain)}), '[^\\p{{L}}\\p{{N}}]+', ' ', 'g')"
    return f"nullif(trim({words}), '')"


def parse_phone(text: str, region: str) -> tuple[str | None, bool]:
    """The E.164 form of a number and whether its country's plan has assigned its range.

    A number without plus that fits no plan of its region is tried once more as if the plus were missing. A number of
    a possible length is kept even when its range is not assigned: plans grow faster than their copies.

    Args:
        text: Digits, with or without a leading plus.
        region: ISO 3166 alpha-2 country the number is written in.
    """
    readings = [text] if text.startswith("+") else [text, f"+{text}"]
    possible: str | None = None
    for reading in readings:
        try:
            number = phonenumbers.parse(reading, region)
        except phonenumbers.NumberParseException:
            continue
        if phonenumbers.is_possible_number_with_reason(number) != phonenumbers.ValidationResult.IS_POSSIBLE:
            continue
        written = f"+{number.country_code}{phonenumbers.national_significant_number(number)}"
        if phonenumbers.is_valid_number(number):
            return written, True
        # Only the reading in the record's own country may pass unassigned.
        if reading == text:
            possible = written
    return possible, False


def region_sql(country: str, default_country: str) -> str:
    """SQL for the region that phones of a record are read in, an ISO 3166 alpha-2 code.

    Args:
        country: Column with the country as written.
        default_country: Taken where no country with phones is written.
    """
    written = f"upper(trim({country}))"
    codes = " ".join(f"when {_literal(code)} then {_literal(iso)}" for code, iso in COUNTRY_CODES.items())
    default = _literal(COUNTRY_CODES.get(default_country, default_country))
    return f"""case
        when {written} in {_in_list(sorted(phonenumbers.SUPPORTED_REGIONS))} then {written}
        else case {written} {codes} else {default} end
    end"""


def is_placeholder_sql(phone: str) -> str:
    """SQL: an E.164 number ends as people type numbers that are none, with one digit repeated or a run of digits."""
    tail = f"right({phone}, {_PLACEHOLDER_TAIL})"
    runs = " or ".join(f"contains('{run}', {tail})" for run in _RUNS)
    return f"coalesce(replace({tail}, left({tail}, 1), '') = '' or {runs}, false)"


def learn_phones(con: duckdb.DuckDBPyConnection, phones: str, target: str) -> None:
    """Read the spellings that the dictionary `identity.phone` does not hold yet into a temporary table of its columns.

    What a spelling means follows from it and its region, so that none is ever read twice, whatever the settings are.

    Args:
        con: The warehouse.
        phones: Relation with columns `phone_text` (NULL: no phone) and `region` (see `region_sql`).
        target: Name of the temporary table to make.
    """
    con.execute(f"""
        create or replace temp table {target}_text as
        select distinct phone_text as text, region from {phones} where phone_text is not null
        except
        select phone_text, region from identity.phone
    """)
    counts = con.execute(f"select region, count(*) from {target}_text group by region").fetchall()
    plans = {
        region: plan for region, count in counts if count >= MIN_PLAN_NUMBERS and (plan := plan_of(region)) is not None
    }
    con.execute(f"""
        create or replace temp table {target} as
        with dialled as (
            select text, region, {_by_region({region: plan.national for region, plan in plans.items()})} as national
            from {target}_text
        ),
        settled as (
            select text, region, {_by_region({region: plan.e164 for region, plan in plans.items()})} as phone
            from dialled
        )
        select text as phone_text, region, phone, true as is_valid, {is_placeholder_sql("phone")} as is_placeholder
        from settled
        where phone is not null
    """)
    unread = f"(from {target}_text anti join (select phone_text as text, region from {target}) using (text, region))"
    _read_by_library(con, unread, target)
    con.execute(f"drop table {target}_text")


def _by_region(expressions: Mapping[str, str]) -> str:
    """SQL for the expression of the row's region; NULL where there is none for it."""
    whens = " ".join(f"when {_literal(region)} then {expression}" for region, expression in expressions.items())
    return f"case region {whens} end" if whens else "null::text"


def _read_by_library(con: duckdb.DuckDBPyConnection, texts: str, target: str) -> None:
    """Add to `target` what `phonenumbers` makes of relation `texts` (text, region), a batch at a time."""
    learnt = []
    for batch in con.execute(f"select text, region from {texts}").to_arrow_table().to_batches(LIBRARY_BATCH):
        parsed = [
            parse_phone(text, region)
            for text, region in zip(batch["text"].to_pylist(), batch["region"].to_pylist(), strict=True)
        ]
        columns = {
            "phone_text": batch["text"],
            "region": batch["region"],
            "phone": pa.array([phone for phone, _ in parsed], pa.string()),
            "is_valid": pa.array([is_valid for _, is_valid in parsed], pa.bool_()),
        }
        learnt.append(pa.record_batch(columns))
    if learnt:
        con.register("identity_learnt", pa.Table.from_batches(learnt))
        con.execute(f"""
            insert into {target} by name
            select *, {is_placeholder_sql("phone")} as is_placeholder from identity_learnt
        """)
        con.unregister("identity_learnt")
