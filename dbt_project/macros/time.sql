{#-
    Time. Timestamps are UTC without a zone everywhere; only these macros know a local clock, and how the engine
    converts and subtracts. Another engine needs another version of these few, not of the models.
-#}

{#- The local clock time in a time zone (an SQL expression) of a UTC timestamp. -#}
{% macro to_local(utc_timestamp, time_zone) -%}
    timezone({{ time_zone }}, timezone('UTC', {{ utc_timestamp }}))
{%- endmacro %}

{#-
    The UTC timestamp of a local clock time in a time zone (an SQL expression). An hour that daylight saving skips
    moves forward, as a clock on the wall does.
-#}
{% macro to_utc(local_timestamp, time_zone) -%}
    timezone('UTC', timezone({{ time_zone }}, {{ local_timestamp }}))
{%- endmacro %}

{#- The date, in the reporting time zone, of a UTC timestamp. -#}
{% macro reporting_date(utc_timestamp) -%}
    {%- if reporting_time_zone() == 'UTC' -%}
        cast({{ utc_timestamp }} as date)
    {%- else -%}
        cast({{ to_local(utc_timestamp, "'" ~ reporting_time_zone() ~ "'") }} as date)
    {%- endif -%}
{%- endmacro %}

{#- The present moment, as UTC. -#}
{% macro utc_now() -%}
    timezone('UTC', current_timestamp)
{%- endmacro %}

{#- Minutes, with their fraction, from one timestamp to a later one; exact to the microsecond. -#}
{% macro minutes_between(earlier, later) -%}
    (epoch_us({{ later }}) - epoch_us({{ earlier }})) / 60000000.0
{%- endmacro %}
