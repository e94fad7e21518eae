"""The one error that reading a source raises."""

from __future__ import annotations


class SourceError(RuntimeError):
    """A source cannot be read as configured.

    The text names the source, the table, the file where there is one, and what to do next. It holds no
    values of rows and no connection strings: it ends in logs and notifications.

    Attributes:
        is_transient: Whether the same read may work in a moment (a server that is down, a file that
            is still being written), so that a retry makes sense.
        field: Setting of the table that may have to be corrected.
    """

    def __init__(self, message: str, *, is_transient: bool = False, field: str = "name") -> None:
        """Keep the message, whether a retry makes sense, and where to correct."""
        super().__init__(message)
        self.is_transient = is_transient
        self.field = field
