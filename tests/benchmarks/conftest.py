"""Every benchmark leaves what it found."""

import sys

import pytest
from results import Keep, put


@pytest.fixture
def keep(capsys: pytest.CaptureFixture[str]) -> Keep:
    """Print what a benchmark found, and keep it."""

    def kept(name: str, found: object, text: str) -> None:
        put(name, found, text)
        with capsys.disabled():
            sys.stdout.write(f"\n{name}\n\n{text}\n")

    return kept
