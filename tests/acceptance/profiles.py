"""Which tests of a profile run together, and which profiles `make test` leaves to `make acceptance`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

LARGE = ("olist", "incidents", "telco")
"""Profiles that take minutes each: the others are left to show in CI that published figures come out."""


def of_profile(name: str) -> Callable[[Callable], Callable]:
    """Mark a test of a profile: it runs in one process with the others, so that the job runs once."""

    def mark(test: Callable) -> Callable:
        for each in _marks(name):
            test = each(test)
        return test

    return mark


def profiles(*names: str) -> list:
    """Parameters of a test, one for each profile."""
    return [pytest.param(name, marks=_marks(name)) for name in names]


def _marks(name: str) -> list[pytest.MarkDecorator]:
    group = pytest.mark.xdist_group(f"acceptance-{name}")
    return [group, pytest.mark.large] if name in LARGE else [group]
