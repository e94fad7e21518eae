{#-
    The declaration of every metric: the only place that says what a figure is called, means and is made of.
    `dim_metric` shows it to readers; the KPI models compile from it.

    period_kind says what a period holds of a metric:
        flow        records that happened in the period;
        state       records that count at the end of the period (a record counts from its date until it is replaced
                    or too old);
        transition  customers active when the period began, by what became of them when it ended.
    settled_after_days says how long what happened on a day may still be answered otherwise, and is not counted; a period
    is complete when that has passed since its end.
    lowest and highest are the ends of the scale of a mean: its t interval does not know them, and is cut there.
    slices are the dimensions a metric is cut by, beside the whole.
    records_part names the part that the records behind a cell add up to, records_model the model that holds them,
    under the name of the metric, or of records_metric where one set of records serves several metrics.
-#}
{% macro kpi_metrics() -%}
{%- set declared %}
- metric: nps
  name: Net Promoter Score
  definition: >-
      Share of promoters (9-10) minus share of detractors (0-6) among the latest valid answers, one for
      each customer, to relational surveys in the {{ nps_window_days() }} days up to the end of
      the period. An answer without a customer counts as a customer of its own. Every answer has the same
      weight.
  formula: >-
      100 * (promoters - detractors) / customers with an answer in the window
  unit: points from -100 to 100
  multiplier: 100
  direction: higher_is_better
  interval_kind: adjusted_wald
  period_kind: state
  slices: [channel, region, segment, product_line, survey]
  n_meaning: >-
      Customers with a valid answer in the window.
  n_invalid_meaning: >-
      Answers off the scale of their question, in the window.
  numerator_meaning: >-
      Promoters minus detractors.
  denominator_meaning: >-
      Customers with a valid answer in the window.
  records_part: n
  source_models: fct_survey_response, fct_order, dim_customer
  records_model: int_kpi_nps__observed
  owner: Customer experience
- metric: nps_weighted
  name: Net Promoter Score, weighted
  definition: >-
      The figure of nps over the surveys that state sampling weights, with each answer at its weight. Only
      there where a survey has weights other than 1.
  formula: >-
      100 * (weight of promoters - weight of detractors) / weight of customers with an answer in the
      window
  unit: points from -100 to 100
  multiplier: 100
  direction: higher_is_better
  interval_kind: adjusted_wald
  period_kind: state
  slices: [channel, region, segment, product_line, survey]
  n_meaning: >-
      Customers with a valid answer in the window.
  n_invalid_meaning: >-
      Answers off the scale of their question, in the window.
  numerator_meaning: >-
      Weight of promoters minus weight of detractors.
  denominator_meaning: >-
      Weight of customers with a valid answer in the window.
  records_part: n
  source_models: fct_survey_response, fct_order, dim_customer
  records_model: int_kpi_nps__observed
  owner: Customer experience
- metric: nps_per_response
  name: Net Promoter Score, per response
  definition: >-
      Share of promoters (9-10) minus share of detractors (0-6) among all valid answers to relational surveys
      given in the period. Every answer counts, also several of one customer; the headline is nps.
  formula: >-
      100 * (promoters - detractors) / answers
  unit: points from -100 to 100
  multiplier: 100
  direction: higher_is_better
  interval_kind: adjusted_wald
  period_kind: flow
  slices: [channel, region, segment, product_line, survey]
  n_meaning: >-
      Valid answers.
  n_invalid_meaning: >-
      Answers off the scale of their question.
  numerator_meaning: >-
      Promoters minus detractors.
  denominator_meaning: >-
      Valid answers.
  records_part: n
  source_models: fct_survey_response, fct_order, dim_customer
  records_model: int_kpi_survey__observed
  owner: Customer experience
- metric: nps_transactional
  name: Transactional Net Promoter Score
  definition: >-
      Share of promoters (9-10) minus share of detractors (0-6) among the valid answers to transactional
      surveys given in the period. Every answer counts; never pooled with nps.
  formula: >-
      100 * (promoters - detractors) / answers
  unit: points from -100 to 100
  multiplier: 100
  direction: higher_is_better
  interval_kind: adjusted_wald
  period_kind: flow
  slices: [channel, region, segment, product_line, survey]
  n_meaning: >-
      Valid answers.
  n_invalid_meaning: >-
      Answers off the scale of their question.
  numerator_meaning: >-
      Promoters minus detractors.
  denominator_meaning: >-
      Valid answers.
  records_part: n
  source_models: fct_survey_response, fct_order, dim_customer
  records_model: int_kpi_survey__observed
  owner: Customer experience
- metric: csat
  name: Customer satisfaction
  definition: >-
      Share of the valid answers to satisfaction questions given in the period that are in the top box of
      their question (4-5 of 1-5; else as the question declares). Unanswered questions are in neither
      part.
  formula: >-
      answers in the top box / answers
  unit: share from 0 to 1
  multiplier: 1
  direction: higher_is_better
  interval_kind: wilson
  period_kind: flow
  slices: [channel, region, segment, product_line, survey]
  n_meaning: >-
      Valid answers.
  n_invalid_meaning: >-
      Answers off the scale of their question.
  numerator_meaning: >-
      Answers in the top box.
  denominator_meaning: >-
      Valid answers.
  records_part: n
  source_models: fct_survey_response, fct_order, dim_customer
  records_model: int_kpi_survey__observed
  owner: Customer experience
- metric: csat_weighted
  name: Customer satisfaction, weighted
  definition: >-
      The figure of csat over the surveys that state sampling weights, with each answer at its weight.
      Only there where a survey has weights other than 1.
  formula: >-
      weight of answers in the top box / weight of answers
  unit: share from 0 to 1
  multiplier: 1
  direction: higher_is_better
  interval_kind: wilson
  period_kind: flow
  slices: [channel, region, segment, product_line, survey]
  n_meaning: >-
      Valid answers.
  n_invalid_meaning: >-
      Answers off the scale of their question.
  numerator_meaning: >-
      Weight of answers in the top box.
  denominator_meaning: >-
      Weight of valid answers.
  records_part: n
  source_models: fct_survey_response, fct_order, dim_customer
  records_model: int_kpi_survey__observed
  owner: Customer experience
- metric: csat_mean
  name: Mean customer satisfaction
  definition: >-
      Mean of the valid answers to satisfaction questions given in the period, each on the 0-100 score
      (lowest answer 0, highest 100), so that questions of different scales do not mix.
  formula: >-
      sum of 0-100 scores / answers
  unit: points from 0 to 100
  multiplier: 1
  lowest: 0
  highest: 100
  direction: higher_is_better
  interval_kind: t
  period_kind: flow
  slices: [channel, region, segment, product_line, survey]
  n_meaning: >-
      Valid answers.
  n_invalid_meaning: >-
      Answers off the scale of their question.
  numerator_meaning: >-
      Sum of 0-100 scores.
  denominator_meaning: >-
      Valid answers.
  records_part: n
  source_models: fct_survey_response, fct_order, dim_customer
  records_model: int_kpi_survey__observed
  owner: Customer experience
- metric: ces
  name: Customer effort score
  definition: >-
      Mean agreement that the company made it easy, 1-7 with 7 good, over the valid answers given in the
      period to effort questions on a 1-7 scale. A question whose high answers are bad is turned round
      first; other scales are left out.
  formula: >-
      sum of directed scores / answers
  unit: points from 1 to 7
  multiplier: 1
  lowest: 1
  highest: 7
  direction: higher_is_better
  interval_kind: t
  period_kind: flow
  slices: [channel, region, segment, product_line, survey]
  n_meaning: >-
      Valid answers on a 1-7 scale.
  n_invalid_meaning: >-
      Answers off the scale of their question, or to an effort question on another scale than 1-7.
  numerator_meaning: >-
      Sum of directed scores.
  denominator_meaning: >-
      Valid answers on a 1-7 scale.
  records_part: n
  source_models: fct_survey_response, fct_order, dim_customer
  records_model: int_kpi_survey__observed
  owner: Customer experience
- metric: ces_easy_share
  name: Share of easy contacts
  definition: >-
      Share of the answers behind ces that are 5 or more of 7.
  formula: >-
      answers of 5-7 / answers
  unit: share from 0 to 1
  multiplier: 1
  direction: higher_is_better
  interval_kind: wilson
  period_kind: flow
  slices: [channel, region, segment, product_line, survey]
  n_meaning: >-
      Valid answers on a 1-7 scale.
  n_invalid_meaning: >-
      Answers off the scale of their question, or to an effort question on another scale than 1-7.
  numerator_meaning: >-
      Answers of 5-7.
  denominator_meaning: >-
      Valid answers on a 1-7 scale.
  records_part: n
  source_models: fct_survey_response, fct_order, dim_customer
  records_model: int_kpi_survey__observed
  owner: Customer experience
- metric: retention_rate
  name: Retention rate
  definition: >-
      Share of the customers active when the period began, by contract or by orders, who are active when
      it ended. The same customers on both sides: joiners of the period are on neither; a customer who
      left and came back within it is retained.
  formula: >-
      customers active at start and at end / customers active at start
  unit: share from 0 to 1
  multiplier: 1
  direction: higher_is_better
  interval_kind: wilson
  period_kind: transition
  slices: [region, segment]
  n_meaning: >-
      Customers active at start.
  n_invalid_meaning: >-
      Always 0.
  numerator_meaning: >-
      Customers active at start and at end.
  denominator_meaning: >-
      Customers active at start.
  records_part: n
  source_models: int_customer_activity__spanned, dim_customer
  records_model: int_kpi_transition__observed
  owner: Customer success
- metric: churn_rate
  name: Churn rate, contractual
  definition: >-
      Share of the customers with a running subscription when the period began who have none when it
      ended. Joiners of the period are on neither side; a customer who ended and returned within it has
      not churned.
  formula: >-
      customers under contract at start and not at end / customers under contract at start
  unit: share from 0 to 1
  multiplier: 1
  direction: lower_is_better
  interval_kind: wilson
  period_kind: transition
  slices: [region, segment]
  n_meaning: >-
      Customers under contract at start.
  n_invalid_meaning: >-
      Always 0.
  numerator_meaning: >-
      Customers under contract at start and not at end.
  denominator_meaning: >-
      Customers under contract at start.
  records_part: n
  source_models: int_customer_activity__spanned, dim_customer
  records_model: int_kpi_transition__observed
  owner: Customer success
- metric: churn_rate_noncontractual
  name: Churn rate, non-contractual
  definition: >-
      Share of the customers active by their orders when the period began whose silence passed their own
      limit by its end. The limit is the larger of {{ inactive_after_days() }} days and
      {{ inactive_gap_factor() }} times the usual gap of the customer.
  formula: >-
      customers active by orders at start and not at end / customers active by orders at start
  unit: share from 0 to 1
  multiplier: 1
  direction: lower_is_better
  interval_kind: wilson
  period_kind: transition
  slices: [region, segment]
  n_meaning: >-
      Customers active by orders at start.
  n_invalid_meaning: >-
      Always 0.
  numerator_meaning: >-
      Customers active by orders at start and not at end.
  denominator_meaning: >-
      Customers active by orders at start.
  records_part: n
  source_models: int_customer_activity__spanned, dim_customer
  records_model: int_kpi_transition__observed
  owner: Customer success
- metric: revenue_churn_rate
  name: Revenue churn rate, gross
  definition: >-
      Share of the monthly recurring amount running when the period began that its customers no longer pay
      when it ended, by leaving or by paying less. Netted within a customer, so a change of plan is no
      loss; growth of one customer never offsets the loss of another. Amounts in
      {{ reporting_currency() }}.
  formula: >-
      sum over customers of max(0, amount at start - amount at end) / sum of amount at start
  unit: share from 0 to 1
  multiplier: 1
  direction: lower_is_better
  interval_kind: wilson
  period_kind: transition
  slices: [region, segment]
  n_meaning: >-
      Customers with a recurring amount at start.
  n_invalid_meaning: >-
      Customers with a subscription at start whose amount is unknown or in another currency; that
      subscription is left out.
  numerator_meaning: >-
      Monthly amount lost.
  denominator_meaning: >-
      Monthly amount at start.
  records_part: n
  source_models: fct_subscription, dim_customer
  records_model: int_kpi_transition__observed
  owner: Customer success
- metric: clv_to_date
  name: Customer lifetime value to date
  definition: >-
      Mean margin of all orders of a customer up to the end of the period, over the customers with an
      order of known margin. Orders without a known cost, or in another currency than
      {{ reporting_currency() }}, are left out and counted.
  formula: >-
      sum of margin to date / customers
  unit: {{ reporting_currency() }} for each customer
  multiplier: 1
  direction: higher_is_better
  interval_kind: t
  period_kind: state
  slices: [region, segment]
  n_meaning: >-
      Customers with an order of known margin to date.
  n_invalid_meaning: >-
      Orders to date of unknown margin, of another currency or of no known customer.
  numerator_meaning: >-
      Margin to date.
  denominator_meaning: >-
      Customers with an order of known margin to date.
  records_part: n
  source_models: fct_order, dim_customer
  records_model: int_kpi_clv__observed
  owner: Finance
{%- for days in (7, 14, 30) %}
- metric: fcr_{{ days }}d
  name: First contact resolution, {{ days }} days
  definition: >-
      Share of the tickets resolved in the period with no reopening, no handoff and no new contact of the
      customer on the same issue within {{ days }} days. Tickets resolved less than {{ days }} days ago,
      merged into another one or solved without any reply are in neither part.
  formula: >-
      tickets resolved at first contact / resolved tickets older than {{ days }} days
  unit: share from 0 to 1
  multiplier: 1
  direction: higher_is_better
  interval_kind: wilson
  period_kind: flow
  settled_after_days: {{ days }}
  slices: [channel, region, segment, product_line]
  n_meaning: >-
      Tickets that can be judged, by the day they were resolved.
  n_invalid_meaning: >-
      Always 0.
  numerator_meaning: >-
      Tickets resolved at first contact.
  denominator_meaning: >-
      Tickets that can be judged.
  records_part: n
  source_models: fct_ticket, fct_order, dim_customer
  records_model: int_kpi_ticket__observed
  owner: Customer service
{%- endfor %}
- metric: first_response_minutes
  name: First response time
  definition: >-
      Mean time in calendar minutes from the first message of the customer to the first public reply by a
      human, over the tickets created in the period that got one. Bots and private notes do not count.
  formula: >-
      sum of minutes / tickets with a reply
  unit: minutes
  multiplier: 1
  lowest: 0
  direction: lower_is_better
  interval_kind: t
  period_kind: flow
  slices: [channel, region, segment, product_line]
  n_meaning: >-
      Tickets with a measured reply, by the day they were created.
  n_invalid_meaning: >-
      Tickets without a reply so far.
  numerator_meaning: >-
      Sum of minutes.
  denominator_meaning: >-
      Tickets with a measured reply.
  records_part: n
  source_models: fct_ticket, fct_order, dim_customer
  records_model: int_kpi_ticket__observed
  owner: Customer service
- metric: first_response_business_minutes
  name: First response time in business hours
  definition: >-
      Mean time in minutes of the business schedule from the first message of the customer to the first
      public reply by a human, over the tickets created in the period that got one. Bots and private notes
      do not count.
  formula: >-
      sum of minutes / tickets with a reply
  unit: minutes
  multiplier: 1
  lowest: 0
  direction: lower_is_better
  interval_kind: t
  period_kind: flow
  slices: [channel, region, segment, product_line]
  n_meaning: >-
      Tickets with a measured reply, by the day they were created.
  n_invalid_meaning: >-
      Tickets without a reply so far, or without a business schedule.
  numerator_meaning: >-
      Sum of minutes.
  denominator_meaning: >-
      Tickets with a measured reply.
  records_part: n
  source_models: fct_ticket, fct_order, dim_customer
  records_model: int_kpi_ticket__observed
  owner: Customer service
{%- for clock in ('', 'business_') %}
{%- set minutes = 'first_response_' ~ clock ~ 'minutes' %}
{%- set hours = ' of the business schedule' if clock else '' %}
{%- for statistic in ('median', 'p90') %}
- metric: {{ minutes }}_{{ statistic }}
  name: First response time{{ ' in business hours' if clock }}, {{ 'median' if statistic == 'median' else '90 %' }}
  definition: >-
      Minutes{{ hours }} within which
      {{ 'half' if statistic == 'median' else 'nine of ten' }} of the tickets created in the period that have a
      public human reply got it.
      {{ 'The mean of the two values in the middle, where there are two.' if statistic == 'median' else
         'The smallest value that nine tenths of the values do not exceed.' }}
      The interval is between two of the values themselves, by their exact ranks; without an upper bound where
      there are too few values for one. Quantiles do not add up: those of other slices are taken of the column
      of minutes in fct_ticket.
  formula: >-
      {{ 'median' if statistic == 'median' else '90th percentile' }} of minutes
  unit: minutes
  multiplier: 1
  direction: lower_is_better
  interval_kind: order_statistic
  period_kind: flow
  slices: [channel, region, segment, product_line]
  n_meaning: >-
      Tickets with a measured reply, by the day they were created.
  n_invalid_meaning: >-
      Tickets without a reply so far{{ ', or without a business schedule' if clock }}.
  numerator_meaning: >-
      None: a quantile is no ratio.
  denominator_meaning: >-
      None: a quantile is no ratio.
  records_part: n
  source_models: fct_ticket, fct_order, dim_customer
  records_model: int_kpi_ticket__observed
  records_metric: {{ minutes }}
  owner: Customer service
{%- endfor %}
- metric: {{ minutes }}_km_median
  name: First response time{{ ' in business hours' if clock }}, Kaplan-Meier median
  definition: >-
      Minutes{{ hours }} within which half of the tickets created in the period get a public human reply,
      by the Kaplan-Meier estimate: a ticket without one counts as waiting as long as it has, until its
      resolution or now. Not shown where half have not been answered yet. The interval is that of the curve at
      one half (Greenwood, on the scale of log(-log)); without an upper bound where the curve has none. Those
      of other slices are taken of waited_{{ clock }}minutes and is_answered in fct_ticket.
  formula: >-
      first minute at which the estimated share without a reply is one half or less
  unit: minutes
  multiplier: 1
  direction: lower_is_better
  interval_kind: kaplan_meier
  period_kind: flow
  slices: [channel, region, segment, product_line]
  n_meaning: >-
      Tickets somebody waits on, with or without a reply, by the day they were created.
  n_invalid_meaning: >-
      {{ 'Tickets without a business schedule.' if clock else 'Always 0.' }}
  numerator_meaning: >-
      None: a quantile is no ratio.
  denominator_meaning: >-
      None: a quantile is no ratio.
  records_part: n
  source_models: fct_ticket, fct_order, dim_customer
  records_model: int_kpi_wait__observed
  owner: Customer service
{%- endfor %}
- metric: unanswered_rate
  name: Unanswered tickets
  definition: >-
      Share of the tickets created in the period without a public human reply so far, among those somebody
      waits on; its numerator is their number. Tickets merged into another one wait there.
  formula: >-
      tickets without a reply / tickets somebody waits on
  unit: share from 0 to 1
  multiplier: 1
  direction: lower_is_better
  interval_kind: wilson
  period_kind: flow
  slices: [channel, region, segment, product_line]
  n_meaning: >-
      Tickets somebody waits on, by the day they were created.
  n_invalid_meaning: >-
      Always 0.
  numerator_meaning: >-
      Tickets without a reply so far.
  denominator_meaning: >-
      Tickets somebody waits on.
  records_part: n
  source_models: fct_ticket, fct_order, dim_customer
  records_model: int_kpi_ticket__observed
  owner: Customer service
- metric: sla_met_rate
  name: Service level met, as the vendor says
  definition: >-
      Share of the tickets created in the period whose service level was met, among those the help desk itself
      judged.
  formula: >-
      tickets with the vendor's mark "met" / tickets with such a mark
  unit: share from 0 to 1
  multiplier: 1
  direction: higher_is_better
  interval_kind: wilson
  period_kind: flow
  slices: [channel, region, segment, product_line]
  n_meaning: >-
      Tickets the vendor judged, by the day they were created.
  n_invalid_meaning: >-
      Always 0.
  numerator_meaning: >-
      Tickets the vendor marks as met.
  denominator_meaning: >-
      Tickets the vendor judged.
  records_part: n
  source_models: fct_ticket, fct_order, dim_customer
  records_model: int_kpi_ticket__observed
  owner: Customer service
{%- for target, title in (('first_reply', 'First reply'), ('resolution', 'Resolution')) %}
- metric: sla_{{ target }}_met_rate
  name: {{ title }} within its target
  definition: >-
      Share of the tickets created in the period that kept the target declared for the {{ title | lower }} (kpis.sla),
      among those whose time has run out, done or not.
  formula: >-
      targets met / targets whose time has run out
  unit: share from 0 to 1
  multiplier: 1
  direction: higher_is_better
  interval_kind: wilson
  period_kind: flow
  slices: [channel, region, segment, product_line]
  n_meaning: >-
      Targets whose time has run out, by the day the ticket was created.
  n_invalid_meaning: >-
      Targets with time left, or due beyond the hours known.
  numerator_meaning: >-
      Targets met.
  denominator_meaning: >-
      Targets whose time has run out.
  records_part: n
  source_models: fct_sla_event, fct_ticket, fct_order, dim_customer
  records_model: int_kpi_sla__observed
  owner: Customer service
{%- endfor %}
- metric: complaint_rate
  name: Complaint rate
  definition: >-
      Complaints of the period for each 1,000 customers active, by contract or by orders, on an average
      day of it. A complaint is a ticket of type {{ complaint_types() | join(", ") }} or with the
      tag {{ complaint_tags() | join(", ") }}, unless merged into another one
      {%- if complaint_texts() %}; also a {{ complaint_texts() | join(" or a ") }} of negative sentiment
      {%- endif %}.
  formula: >-
      1000 * complaints / average active customers
  unit: complaints for 1,000 active customers
  multiplier: 1000
  direction: lower_is_better
  interval_kind: poisson
  period_kind: flow
  slices: [region, segment]
  n_meaning: >-
      Average active customers, rounded.
  n_invalid_meaning: >-
      Always 0.
  numerator_meaning: >-
      Complaints.
  denominator_meaning: >-
      Active customers at the close of each day of the period, averaged.
  records_part: numerator
  source_models: fct_ticket, fct_survey_response, fct_mention, int_customer_activity__spanned, dim_customer
  records_model: int_kpi_complaint__observed
  owner: Customer service
- metric: net_sentiment
  name: Social net sentiment
  definition: >-
      Share of positive minus share of negative among the mentions published in the period whose sentiment
      is known: by the model of their language, else by the label of their source. Reposts are left out. How good
      the models are is measured_error.
  formula: >-
      100 * (positive - negative) / (positive + neutral + negative)
  unit: points from -100 to 100
  multiplier: 100
  direction: higher_is_better
  interval_kind: adjusted_wald
  period_kind: flow
  slices: [channel, region, segment]
  n_meaning: >-
      Mentions of known sentiment.
  n_invalid_meaning: >-
      Mentions of unknown sentiment.
  numerator_meaning: >-
      Positive minus negative mentions.
  denominator_meaning: >-
      Mentions of known sentiment.
  records_part: n
  source_models: fct_mention, dim_customer
  records_model: int_kpi_mention__observed
  depends_on_sentiment: true
  owner: Marketing
- metric: survey_response_rate
  name: Survey response rate
  definition: >-
      Share of the delivered survey invitations sent in the period that were answered. Invitations younger
      than a week may still be and are left out.
  formula: >-
      answered invitations / delivered invitations
  unit: share from 0 to 1
  multiplier: 1
  direction: higher_is_better
  interval_kind: wilson
  period_kind: flow
  settled_after_days: 7
  slices: [channel, region, segment, survey]
  n_meaning: >-
      Delivered invitations.
  n_invalid_meaning: >-
      Always 0.
  numerator_meaning: >-
      Answered invitations.
  denominator_meaning: >-
      Delivered invitations.
  records_part: n
  source_models: fct_survey_invitation, dim_customer
  records_model: int_kpi_contact__observed
  owner: Customer experience
- metric: self_service_rate
  name: Self-service rate
  definition: >-
      Share of the needs for help that customers met by themselves: they read help articles on a day and
      opened no ticket in the {{ self_service_days() }} days after. A ticket that no reading came before is a
      need not met so. Needs of the last {{ self_service_days() }} days are left out. There is none without
      help articles.
  formula: >-
      readings without a ticket / (readings + tickets without a reading before)
  unit: share from 0 to 1
  multiplier: 1
  direction: higher_is_better
  interval_kind: wilson
  period_kind: flow
  settled_after_days: {{ self_service_days() }}
  slices: [channel, region, segment]
  n_meaning: >-
      Needs for help of known customers.
  n_invalid_meaning: >-
      Always 0.
  numerator_meaning: >-
      Days of reading without a ticket after.
  denominator_meaning: >-
      Days of reading, and tickets without one before.
  records_part: n
  source_models: fct_ticket, dim_customer
  records_model: int_kpi_contact__observed
  owner: Customer service
{%- endset -%}
{{ return(fromyaml(declared)) }}
{%- endmacro %}
