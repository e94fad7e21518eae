-- Draws and ways of writing. Every draw is a pure function of a key, a salt and the seed, so a record is
-- the same however often, in whatever order and for however long a company it is computed.

-- Uniform on [0, 1). Hashing twice matters: combined hashes of one key under two salts differ by a
-- constant only, which would make the draws of one record depend on each other.
create macro u(key, salt) as (hash(hash(key, salt, getvariable('seed'))) >> 11) / 9007199254740992.0;

create macro gauss(key, salt) as sqrt(-2 * ln(1 - u(key, salt))) * cos(2 * pi() * u(key, salt || '~'));

create macro wait(key, salt, mean) as -ln(1 - u(key, salt)) * mean;

create macro logistic(x) as 1 / (1 + exp(-x));

create macro nth(list, x) as list_extract(list, 1 + least(floor(x * len(list)), len(list) - 1)::int);

create macro pick(list, key, salt) as nth(list, u(key, salt));

-- A Poisson count from a table of quantiles (512 for each step of 0.25 of the mean, up to 30). A mean
-- between two steps takes the upper one with the matching probability, which keeps the expectation.
create macro poisson(mean, key, salt) as list_extract(
    getvariable('poisson_quantile'),
    1
    + 512 * least(floor(mean * 4 + u(key, salt || '^')), 120)::int
    + floor(u(key, salt) * 512)::int
);

create macro days(n) as to_microseconds((n * 86400000000)::bigint);

create macro minutes(n) as to_microseconds((n * 60000000)::bigint);

-- A moment within a block of time: day by the calendar weights of a profile, hour by its daily curve.
create macro moment(block, profile, key, salt) as
list_extract(
    getvariable('day_slot'),
    1 + ((block * 2 + profile) * 16384 + floor(u(key, salt) * 16384)::int)
)
+ to_seconds(
    (3600 * (
        pick(
            case when profile = 0 then getvariable('hour_shop') else getvariable('hour_desk') end, key, salt || 'h'
        ) + u(key, salt || 's')
    ))::bigint
);

-- The next moment at which the desk is open, near enough (the exact calendar is business_schedules').
create macro next_desk_day(day, market) as day + to_days(
    (case
        when market = 'IR' and isodow(day) = 5 then 1
        when market != 'IR' and isodow(day) = 6 then 2
        when market != 'IR' and isodow(day) = 7 then 1
        else 0
    end)::int
);

create macro desk_time(at_local, market, key) as case
    when
        hour(at_local) between 8 and 16
        and next_desk_day(date_trunc('day', at_local), market) = date_trunc('day', at_local)
        then at_local
    else
        next_desk_day(
            date_trunc('day', at_local) + to_days((case when hour(at_local) > 16 then 1 else 0 end)::int), market
        ) + minutes(500 + 120 * u(key, 'desk opens'))
end;

-- Ids: a bijection modulo a prime, so that ids neither collide nor tell who is who.
create macro code(prefix, key, factor) as prefix || lpad(((key * factor) % 999999937)::varchar, 9, '0');

create macro long_code(prefix, key, factor) as prefix || lpad(((key * factor) % 999999999989)::varchar, 12, '0');

create macro crm_code(i, copy) as code(case when copy = 0 then 'P' else 'P1' end, i, 48271);

create macro requester_code(i, copy) as code('R', i * 2 + copy, 69621);

create macro respondent_code(i) as code('S', i, 39373);

create macro author_code(i) as code('A', i, 16807);

create macro visitor_code(i, copy) as code('V', i * 2 + copy, 75403);

-- Time as text: the CRM and the survey tool write local time of their office in Tehran (+03:30 all year).
create macro local_text(t) as strftime(t + interval 210 minute, '%Y-%m-%d %H:%M:%S');

create macro local_day_first(t) as strftime(t + interval 210 minute, '%d/%m/%Y %H:%M');

create macro utc_text(t) as strftime(t, '%Y-%m-%dT%H:%M:%SZ');

-- Dirt.
create macro bad(key, kind, share) as u(key, 'bad ' || kind) < share;

create macro persian_digits(x) as translate(x, '0123456789', '۰۱۲۳۴۵۶۷۸۹');

create macro misspelt(x, key, salt) as
left(x, 1 + floor(u(key, salt) * (len(x) - 2))::int) || substr(x, 3 + floor(u(key, salt) * (len(x) - 2))::int);

create macro respelt(x, r) as case
    when r < 0.16 then replace(x, 'ou', 'oo')
    when r < 0.28 then replace(x, 'mm', 'm')
    when r < 0.40 then replace(replace(x, 'gh', 'q'), 'Gh', 'Q')
    when r < 0.52 then replace(x, 'ei', 'ey')
    when r < 0.60 then replace(x, 'eh', 'e')
    when r < 0.66 then replace(x, 'zadeh', ' Zadeh')
    when r < 0.72 then replace(x, 'hossein', 'hosein')
    else x
end;

-- One part of a name as some clerk or form wrote it.
create macro written(x, key, salt) as case
    when x is null then null
    when u(key, salt) < 0.10 then translate(x, 'یک', 'يك')
    when u(key, salt) < 0.16 then regexp_replace(x, ' (زاده|پور|نژاد|نیا)', chr(8204) || '\1')
    when u(key, salt) < 0.20 then ' ' || x || '  '
    when u(key, salt) < 0.25 then upper(x)
    when u(key, salt) < 0.30 then lower(x)
    when u(key, salt) < 0.32 and len(x) > 4 then misspelt(x, key, salt || '!')
    else x
end;

create macro written_full(given, family, gender, persian, key, salt) as case
    when u(key, salt || 'f') < 0.08 then family || ' ' || given
    when u(key, salt || 'f') < 0.12 then family || (case when persian then '، ' else ', ' end) || given
    when u(key, salt || 'f') < 0.18 then left(given, 1) || '. ' || family
    when u(key, salt || 'f') < 0.23
        then
            (case
                when persian then case when gender = 'f' then 'خانم ' else 'آقای ' end
                else case when gender = 'f' then 'Ms ' else 'Mr ' end
            end) || given || ' ' || family
    when u(key, salt || 'f') < 0.25 then given
    when u(key, salt || 'f') < 0.28 then given || '  ' || family
    else given || ' ' || family
end;

create macro written_mail(mail, key, salt) as case
    when u(key, salt) < 0.10 then upper(mail)
    when u(key, salt) < 0.16 then '  ' || mail || ' '
    when u(key, salt) < 0.22 then replace(mail, '@', '+' || pick(['shop', 'news', 'club'], key, salt || '+') || '@')
    when u(key, salt) < 0.26 then upper(left(mail, 1)) || substr(mail, 2)
    when
        u(key, salt) < 0.275
        then misspelt(split_part(mail, '@', 1), key, salt || '!') || '@' || split_part(mail, '@', 2)
    else mail
end;

-- A phone from its country calling code and national number.
create macro written_phone(calling, digits, key, salt) as case
    when u(key, salt) < 0.12 then '+' || calling || digits
    when u(key, salt) < 0.20 then '00' || calling || digits
    when
        u(key, salt) < 0.28
        then '+' || calling || ' ' || left(digits, 3) || ' ' || substr(digits, 4, 3) || ' ' || substr(digits, 7)
    when u(key, salt) < 0.36 and calling = '98' then persian_digits('0' || digits)
    when u(key, salt) < 0.40 and calling = '98' then digits
    when u(key, salt) < 0.46 then '+' || calling || ' ' || (case when calling = '1' then '' else '(0) ' end) || digits
    when u(key, salt) < 0.60
        then
            (case when calling = '1' then '' else '0' end)
            || left(digits, 3)
            || '-'
            || substr(digits, 4, 3)
            || '-'
            || substr(digits, 7)
    when calling = '1' then '(' || left(digits, 3) || ') ' || substr(digits, 4, 3) || '-' || substr(digits, 7)
    else '0' || left(digits, 3) || substr(digits, 4)
end;

-- What somebody of this mood says about a category (its position in the list, from 0).
create macro opinion(language, mood, category_no, key) as case
    when language = 'fa'
        then trim(
            list_extract(getvariable('aspect_fa'), 1 + category_no * 4 + floor(u(key, 'aspect') * 4)::int)
            || ' '
            || case mood
                when
                    'positive'
                    then
                        pick(getvariable('say_good_fa'), key, 'say')
                        || '. '
                        || pick(getvariable('end_good_fa'), key, 'end')
                when
                    'neutral'
                    then
                        pick(getvariable('say_mid_fa'), key, 'say')
                        || '. '
                        || pick(getvariable('end_mid_fa'), key, 'end')
                else pick(getvariable('say_bad_fa'), key, 'say') || '. ' || pick(getvariable('end_bad_fa'), key, 'end')
            end
        )
    else trim(
        list_extract(getvariable('aspect_en'), 1 + category_no * 4 + floor(u(key, 'aspect') * 4)::int)
        || ' '
        || case mood
            when
                'positive'
                then
                    pick(getvariable('say_good_en'), key, 'say') || '. ' || pick(getvariable('end_good_en'), key, 'end')
            when
                'neutral'
                then pick(getvariable('say_mid_en'), key, 'say') || '. ' || pick(getvariable('end_mid_en'), key, 'end')
            else pick(getvariable('say_bad_en'), key, 'say') || '. ' || pick(getvariable('end_bad_en'), key, 'end')
        end
    )
end;

create macro mood(experience) as case
    when experience > 0.35 then 'positive' when experience > -0.5 then 'neutral' else 'negative'
end;
