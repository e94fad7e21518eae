"""Dagster only: assets, checks, jobs and schedules that wire the pure packages together."""
