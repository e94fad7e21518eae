-- The listening tool's export: posts of customers and of strangers, and reposts. Times are UTC.

create table social_post as
with
customer_post as (
    select
        i,
        i as author_no,
        language,
        block.block,
        satisfaction,
        joined_at,
        unnest(range(poisson(0.035 * block.months, i * 64 + block.block, 'posts'))) as k,
        left_at
    from customer
    cross join block
    where u(i, 'posts') < 0.16
),

stranger_post as (
    select
        null::bigint as i,
        400000000 + n as author_no,
        case when u(n, 'stranger language') < 0.55 then 'fa' else 'en' end as language,
        block.block,
        0.0 as satisfaction,
        getvariable('starts') as joined_at,
        unnest(range(poisson(0.06 * block.months, n * 64 + block.block, 'stranger posts'))) as k,
        null::timestamp as left_at
    from range(0, getvariable('strangers')) as r (n)
    cross join block
),

drawn as (
    select * from customer_post
    union all
    select * from stranger_post
),

dated as (
    select
        *,
        author_no * 4096 + block * 64 + k as post_no,
        moment(block, 0, post_no, 'post') as published_at
    from drawn
),

-- A ticket of the last weeks is what a customer posts about, if there was one.
stirred as (
    select
        dated.post_no,
        arg_max(ticket.experience, ticket.created_at) as experience,
        arg_max(ticket.category_no, ticket.created_at) as category_no
    from dated
    inner join ticket
        on dated.i = ticket.i
            and ticket.created_at < dated.published_at
            and ticket.created_at >= dated.published_at - interval 45 day
    group by dated.post_no
)

select
    dated.post_no,
    dated.i,
    dated.author_no,
    dated.language,
    dated.published_at,
    coalesce(stirred.category_no, floor(u(dated.post_no, 'about') * 7)::int) as category_no,
    0.7 * dated.satisfaction + 0.5 * coalesce(stirred.experience, 0) + 0.8 * gauss(dated.post_no, 'post mood')
    - case when dated.left_at < dated.published_at then 0.8 else 0 end as experience,
    (20 * exp(1.6 * abs(gauss(dated.author_no, 'reach'))))::int as reach,
    pick(['x', 'x', 'instagram', 'telegram'], dated.post_no, 'network') as channel
from dated
left join stirred on dated.post_no = stirred.post_no
where dated.published_at >= dated.joined_at and dated.published_at < getvariable('clock');

create table social_author as
with
poster as (
    select
        *,
        regexp_replace(lower(given_latin), '[^a-z]', '', 'g') as plain_given,
        regexp_replace(lower(family_latin), '[^a-z]', '', 'g') as plain_family
    from customer
    where u(i, 'posts') < 0.16
),

known as (
    select
        i as author_no,
        plain_given || '_' || left(plain_family, 4) || (i * 13 % 97) as handle,
        case
            when u(i, 'display') < 0.35 then written_full(given_latin, family_latin, gender, false, i, 'social')
            when u(i, 'display') < 0.6 and is_persian
                then written_full(given_fa, family_fa, gender, true, i, 'social')
            else given_latin
        end as author_name
    from poster
    union all
    select
        400000000 + n,
        pick(getvariable('stranger_word'), n, 'word') || '_' || pick(getvariable('stranger_word'), n, 'word2') || n,
        pick(getvariable('given_f_en'), n, 'stranger given')
        || ' '
        || left(pick(getvariable('family_en'), n, 'stranger family'), 1)
    from range(0, getvariable('strangers')) as r (n)
)

select
    author_no,
    author_code(author_no) as author_id,
    handle,
    author_name
from known;

create table social_mentions as
with
post as (
    select
        *,
        0 as copy
    from social_post
    union all
    -- A repost repeats the text; its author is somebody among the strangers.
    select
        * replace (
            400000000 + floor(u(post_no, 'who reposts') * getvariable('strangers'))::bigint as author_no,
            published_at + days(0.02 + wait(post_no, 'reposted in', 0.8)) as published_at,
            (reach * 0.4)::int as reach
        ),
        1 as copy
    from social_post
    where u(post_no, 'reposted') < 0.14
),

felt as (
    select
        *,
        post_no * 2 + copy as mention_no,
        mood(experience) as mood,
        date_trunc(
            'second',
            published_at
            + case
                when u(post_no, 'found') < 0.08 then days(1 + wait(post_no * 2 + copy, 'found in', 5)) else
                    interval 5 minute
            end
        ) as delivered_at
    from post
)

select
    period.name as period,
    case when bad(mention_no, 'mention id', 0.002) then null else long_code('M', mention_no, 9973) end as mention_id,
    social_author.author_id,
    social_author.handle,
    social_author.author_name,
    case when copy = 1 then long_code('M', post_no * 2, 9973) end as repost_of,
    channel as network,
    case when copy = 1 then 'RT: ' else '' end
    || opinion(language, mood, category_no, post_no)
    || case when u(post_no, 'hashtag') < 0.4 then ' #demo_shop' else ' @demo_shop' end as text,
    language,
    -- The tool labels most posts, and one label in twelve is wrong.
    case
        when u(post_no, 'label') < 0.16 then null
        when u(post_no, 'label') < 0.24 then pick(['positive', 'neutral', 'negative'], post_no, 'wrong label')
        else mood
    end as sentiment,
    reach,
    utc_text(published_at) as published_at,
    utc_text(delivered_at) as found_at,
    mention_no
from felt
inner join social_author on felt.author_no = social_author.author_no
inner join period on felt.delivered_at >= period.starts_at and felt.delivered_at < period.ends_at;
