{#-
    The settings that models read, one macro each and without arguments: a dbt unit test can override such a
    macro, so the tests of a rule hold whatever a user writes in cem.yml. Values come from setting() only.
-#}
{% macro reporting_time_zone() %}{{ return(setting('time_zone')) }}{% endmacro %}

{% macro reporting_currency() %}{{ return(setting('currency')) }}{% endmacro %}

{% macro reporting_as_of() %}{{ return(setting('as_of')) }}{% endmacro %}

{% macro complaint_types() %}{{ return(setting('complaint_types')) }}{% endmacro %}

{% macro complaint_tags() %}{{ return(setting('complaint_tags')) }}{% endmacro %}

{% macro complaint_texts() %}{{ return(setting('complaint_texts')) }}{% endmacro %}

{% macro sla_targets() %}{{ return(setting('sla')) }}{% endmacro %}

{% macro inactive_after_days() %}{{ return(setting('inactive_after_days')) }}{% endmacro %}

{% macro inactive_gap_factor() %}{{ return(setting('inactive_gap_factor')) }}{% endmacro %}

{% macro nps_window_days() %}{{ return(setting('nps_window_days')) }}{% endmacro %}

{% macro suppressed_below() %}{{ return(setting('suppressed_below')) }}{% endmacro %}

{% macro low_below() %}{{ return(setting('low_below')) }}{% endmacro %}

{% macro survey_fatigue_days() %}{{ return(setting('survey_fatigue_days')) }}{% endmacro %}

{% macro journey_gap_days() %}{{ return(setting('journey_gap_days')) }}{% endmacro %}

{% macro self_service_days() %}{{ return(setting('self_service_days')) }}{% endmacro %}

{% macro feedback_contact_hours() %}{{ return(setting('feedback_contact_hours')) }}{% endmacro %}

{% macro feedback_close_days() %}{{ return(setting('feedback_close_days')) }}{% endmacro %}

{% macro survivorship() %}{{ return(setting('survivorship')) }}{% endmacro %}

{% macro trusted_sources() %}{{ return(setting('trusted_sources')) }}{% endmacro %}
