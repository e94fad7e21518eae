"""Files before the engine sees them: found, unpacked, and in UTF-8.

Belongs here: globs, archives, fingerprints, encodings. Does not belong here: formats (`files.py`).

Archives are unpacked here and not by the engine, which takes the half of a cut-off gzip file for the whole.
"""

from __future__ import annotations

import codecs
import errno
import fnmatch
import gzip
import hashlib
import io
import logging
import lzma
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from orchestration.settings import Source, Table
from orchestration.sources.errors import SourceError
from orchestration.sources.keys import cursor_form
from orchestration.sources.reading import named
from orchestration.space import is_disk_full

log = logging.getLogger("cem.sources")

CHUNK = 1 << 20

PREVIEW_BYTES = 1 << 18
"""How much of a text a preview reads: a thousand rows of most files."""

UTF8 = frozenset({"utf-8", "utf-8-sig", "ascii"})

ENCRYPTED = 0x1
"""Flag of a member of a .zip file that needs a password."""

_DAMAGED = (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)
"""What unpacking says of a file that is not whole."""

BROKEN_BYTE = "\ufdd0"
"""Stands before each byte of a text that is not UTF-8, written as `\\xE9`: a character that no text holds."""

BROKEN_MARK = BROKEN_BYTE.encode()

SHOWN_LINES = 10
"""Lines that are not UTF-8 named in the log; the rows are in quarantine with their file and number."""


@dataclass(frozen=True)
class SourceFile:
    """A file of a table, or a member of an archive.

    Attributes:
        label: Path relative to the folder of the source, `archive.zip/member` for a member.
        path: The file, or the archive.
        member: Name within the archive.
        fingerprint: Changes when the file or the way it is read changes.
    """

    label: str
    path: Path
    member: str | None
    fingerprint: str

    @property
    def name(self) -> str:
        """Name of the file itself."""
        return self.member or self.path.name


def find_files(source: Source, table: Table) -> list[SourceFile]:
    """The files of a table, in the order of their labels; none only when the table is optional.

    Raises:
        SourceError: A pattern finds nothing, or a file or archive cannot be read.
    """
    found: dict[str, SourceFile] = {}
    options = _options_fingerprint(table)
    for pattern in table.files:
        matched = list(_matching(source, table, pattern, options))
        if not matched and not table.optional:
            raise SourceError(
                f"{named(table)}: no file matches {pattern} in {source.folder}; put the file there, correct "
                "`files` in cem.yml, or declare the table `optional: true`",
                is_transient=True,
            )
        found |= {file.label: file for file in matched}
    return [found[label] for label in sorted(found)]


def _matching(source: Source, table: Table, pattern: str, options: str) -> Iterator[SourceFile]:
    outer, inner = _split_archive(pattern)
    with readable(table, outer):
        paths = _glob(source.folder, outer)
    for path in paths:
        is_inside = path.is_relative_to(source.folder)
        label = path.relative_to(source.folder).as_posix() if is_inside else str(path)
        with readable(table, label):
            stat = path.stat()
        fingerprint = f"{stat.st_size}:{stat.st_mtime_ns}:{options}"
        if path.suffix.lower() != ".zip":
            yield SourceFile(label, path, None, fingerprint)
            continue
        with readable(table, label):
            members = _members(path, inner)
        for member in members:
            yield SourceFile(f"{label}/{member}", path, member, fingerprint)


def _split_archive(pattern: str) -> tuple[str, str | None]:
    """`a.zip/b*.csv` as archive and member pattern."""
    outer, separator, inner = pattern.partition(".zip/")
    return (f"{outer}.zip", inner) if separator else (pattern, None)


def _glob(folder: Path, pattern: str) -> list[Path]:
    path = Path(pattern).expanduser()
    if path.is_absolute():
        folder, pattern = Path(path.anchor), str(path.relative_to(path.anchor))
    return sorted(found for found in folder.glob(pattern) if found.is_file())


def _members(path: Path, pattern: str | None) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [info.filename for info in archive.infolist() if not info.is_dir()]
    except ValueError as error:  # a place or a name that cannot be
        raise zipfile.BadZipFile(str(error)) from error
    own = [name for name in names if not name.startswith("__MACOSX/")]
    return sorted(own if pattern is None else fnmatch.filter(own, pattern))


def _options_fingerprint(table: Table) -> str:
    """What the same bytes are read differently by."""
    options = table.model_dump_json(
        include={
            "format",
            "delimiter",
            "quote",
            "header",
            "names",
            "widths",
            "sheet",
            "encoding",
            "key",
            "cursor",
            "deleted",
        }
    )
    form = cursor_form(table)
    return hashlib.sha256(f"{options}|{form.formats}|{form.date_order}".encode()).hexdigest()[:12]


def unpacked(table: Table, file: SourceFile, folder: Path, *, is_preview: bool = False) -> Path:
    """The file as the engine can read it: out of its archive, text in UTF-8 without a byte order mark.

    Args:
        table: The table.
        file: One of its files.
        folder: Takes the copy where one is needed.
        is_preview: Whether the first lines of a text will do.

    Raises:
        SourceError: The file cannot be read or unpacked, or the text is not in the declared encoding.
        OSError: The disk is full.
    """
    is_packed = file.member is not None or file.path.suffix.lower() == ".gz"
    is_text = table.format in {"csv", "jsonl"}
    is_preview = is_preview and is_text
    with readable(table, file.label):
        is_ready = not is_packed and not is_preview and not (is_text and _needs_recoding(table, file))
    if is_ready:
        return file.path
    # The name of the copy says nothing: two files in two folders may have the same name.
    suffix = Path(file.name.removesuffix(".gz")).suffix
    copy = folder / f"{hashlib.sha256(file.label.encode()).hexdigest()[:16]}{suffix}"
    with readable(table, file.label), _opened(table, file) as packed, copy.open("wb") as target:
        if is_text:
            _recode(table, file, _beginning(table, packed) if is_preview else packed, target)
        else:
            shutil.copyfileobj(packed, target, CHUNK)
    return copy


def _opened(table: Table, file: SourceFile) -> IO[bytes]:
    if file.member is None:
        return gzip.open(file.path) if file.path.suffix.lower() == ".gz" else file.path.open("rb")  # type: ignore[return-value]
    try:
        archive = zipfile.ZipFile(file.path)
        info = archive.getinfo(file.member)
        if info.flag_bits & ENCRYPTED:
            raise SourceError(f"{named(table)}: {file.label} is protected by a password; deliver it without one")
        member = archive.open(info)
    except (KeyError, ValueError) as error:  # a name that is gone, a place that cannot be
        raise zipfile.BadZipFile(str(error)) from error
    return gzip.open(member) if file.member.endswith(".gz") else member  # type: ignore[return-value]


@contextmanager
def readable(table: Table, name: str) -> Iterator[None]:
    """Say of a file that cannot be read which it is, and what to do.

    Args:
        table: The table it belongs to.
        name: The file as errors call it.

    Raises:
        SourceError: The file is damaged, packed in a way that nobody here reads, gone, or not to be read.
        OSError: The disk is full, which no file is at fault for.
    """
    try:
        yield
    except _DAMAGED as error:
        raise _broken(table, name) from error
    except NotImplementedError as error:
        raise SourceError(
            f"{named(table)}: {name} is packed in a way that is not read here ({error}); deliver a plain .zip or .gz"
        ) from error
    except OSError as error:
        if is_disk_full(error):
            raise
        # Without a number it is from gzip or bzip2; a place before the beginning of a file is said by damaged archives.
        if error.errno in (None, errno.EINVAL):
            raise _broken(table, name) from error
        raise _unreadable(table, name, error) from error


def _broken(table: Table, name: str) -> SourceError:
    return SourceError(
        f"{named(table)}: {name} is broken or cut off; it may still be on its way: deliver it again",
        is_transient=True,
    )


def _unreadable(table: Table, name: str, error: OSError) -> SourceError:
    if isinstance(error, FileNotFoundError):
        text = "went away while it was being read; deliver it again"
    elif isinstance(error, PermissionError):
        text = "may not be read by the user that runs this; give that user the right to"
    else:
        text = f"cannot be read: {error.strerror}; look at the disk or share it is on"
    return SourceError(f"{named(table)}: {name} {text}", is_transient=not isinstance(error, PermissionError))


def _codec(table: Table) -> str:
    try:
        return codecs.lookup(table.encoding).name
    except LookupError as error:
        raise SourceError(
            f"{named(table)}: unknown encoding '{table.encoding}'; allowed: names such as utf-8, cp1252, cp1256, utf-16"
        ) from error


def _needs_recoding(table: Table, file: SourceFile) -> bool:
    if _codec(table) not in UTF8:
        return True
    with file.path.open("rb") as handle:
        start = handle.read(3)
    if start[:2] in {codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE}:
        raise _undecodable(table, file, 0)
    if start == codecs.BOM_UTF8:
        return True
    if table.format == "jsonl" and _has_half_character(file.path):
        return True
    return undecodable_offset(file.path) is not None


def _beginning(table: Table, packed: IO[bytes]) -> IO[bytes]:
    """The first whole records of a text; all of it where it is short, or one array of JSON."""
    block = packed.read(PREVIEW_BYTES)
    if len(block) < PREVIEW_BYTES:
        return io.BytesIO(block)
    codec = _codec(table)
    if codec not in UTF8:
        try:
            block = codecs.getincrementaldecoder(codec)().decode(block).encode()
        except UnicodeDecodeError:
            return io.BytesIO(block)  # where it is wrong is told by who reads it
    if table.format == "jsonl" and block.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"["):
        packed.seek(0)
        return packed
    block = block[: _end_of_records(block, table.quote.encode() if table.format == "csv" else b"")]
    return io.BytesIO(block if codec in UTF8 else block.decode().encode(codec))


def _end_of_records(block: bytes, quote: bytes) -> int:
    """Where the last whole record ends: at the end of a line, but for lines that go on within quotation marks."""
    line_end = b"\n" if b"\n" in block else b"\r"
    last = end = block.rfind(line_end)
    while quote and end > 0 and block.count(quote, 0, end) % 2:
        end = block.rfind(line_end, 0, end)
    # A mark that stands alone, as in 5" pipes, is no beginning of a text.
    end = end if end > last // 2 else last
    return end + 1 if end >= 0 else len(block)


def _recode(table: Table, file: SourceFile, packed: IO[bytes], target: IO[bytes]) -> None:
    codec = _codec(table)
    if codec in UTF8:
        _mend(table, file, packed, target)
        return
    decoder = codecs.getincrementaldecoder(codec)()
    offset = 0
    while True:
        block = packed.read(CHUNK)
        pending = len(decoder.getstate()[0])
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            raise _undecodable(table, file, offset - pending + error.start) from error
        target.write(text.encode())
        offset += len(block)
        if not block:
            return


def _mend(table: Table, file: SourceFile, packed: IO[bytes], target: IO[bytes]) -> None:
    """Copy UTF-8, marking the bytes of single lines that are not, so that the guard quarantines their rows.

    A file of which more is wrong is in another encoding: its header is not UTF-8, or no line of data is, or
    at least half of the lines that go beyond ASCII are not, and more than one. Where cem.yml itself declares
    `encoding: utf-8`, lines are believed to be damaged, however many.

    Raises:
        SourceError: The file is in another encoding.
    """
    header = 1 if table.format == "csv" and table.header else 0
    broken: list[int] = []
    half: list[int] = []
    first, number, beyond_ascii, offset = 0, 0, 0, 0
    for number, line in enumerate(packed, start=1):
        content = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
        if not content.isascii():
            beyond_ascii += 1
            try:
                content.decode()
            except UnicodeDecodeError as error:
                first = first if broken else offset + len(line) - len(content) + error.start
                broken.append(number)
                content = content.decode(errors=BROKEN_BYTE).encode()
        if table.format == "jsonl":
            whole = without_half_characters(content)
            half += [number] * (whole != content)
            content = whole
        target.write(content)
        offset += len(line)
    is_mostly_wrong = len(broken) > 1 and 2 * len(broken) >= beyond_ascii and "encoding" not in table.model_fields_set
    if broken and (broken[0] <= header or len(broken) >= number - header or is_mostly_wrong):
        raise _undecodable(table, file, first)
    for wrong, what in ((broken, "is not UTF-8"), (half, "has half a character")):
        if wrong:
            lines = ", ".join(map(str, wrong[:SHOWN_LINES])) + (", …" if len(wrong) > SHOWN_LINES else "")
            log.warning("%s: %s %s in line %s; it goes to quarantine", named(table), file.label, what, lines)


def _has_half_character(path: Path) -> bool:
    r"""Whether a file of JSON has escapes such as `\ud83d`, of which only a pair makes a character."""
    with path.open("rb") as handle:
        return any(_HALF.search(line) for line in handle)


def without_half_characters(content: bytes) -> bytes:
    r"""JSON in which escapes such as `\ud83d`, of which only a pair makes a character, are texts behind the mark.

    The guard quarantines their rows; as they are, they would keep the engine from reading any row.
    """
    return _ESCAPE.sub(_whole, content) if _HALF.search(content) else content


def _whole(escape: re.Match[bytes]) -> bytes:
    """An escape as it is, or, where it is half a character, as the text of it behind the mark."""
    found = escape[0]
    is_half = len(found) == len(b"\\ud83d") and _HALF.match(found)
    return BROKEN_MARK + b"\\" + found if is_half else found


_HALF = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")

_ESCAPE = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\.", re.DOTALL)
"""An escape of JSON, two of them where they make one character."""


def _marked(error: UnicodeError) -> tuple[str, int]:
    """Error handler that writes each byte as its mark and its hexadecimal code."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    wrong = error.object[error.start : error.end]
    return "".join(f"{BROKEN_BYTE}\\x{byte:02X}" for byte in wrong), error.end


codecs.register_error(BROKEN_BYTE, _marked)


def with_even_lines(path: Path, folder: Path) -> Path:
    """A copy of a text file in which every line ends in a line feed, within quotation marks too."""
    copy = folder / f"even_{path.name}"
    with path.open("rb") as source, copy.open("wb") as target:
        for line in source:
            target.write(line[:-2] + b"\n" if line.endswith(b"\r\n") else line)
    return copy


def undecodable_offset(path: Path) -> int | None:
    """Where a file stops being UTF-8, in bytes; None when it is UTF-8 throughout."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset = 0
    with path.open("rb") as handle:
        while True:
            block = handle.read(CHUNK)
            pending = len(decoder.getstate()[0])
            try:
                decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                return offset - pending + error.start
            offset += len(block)
            if not block:
                return None


def _undecodable(table: Table, file: SourceFile, offset: int) -> SourceError:
    return SourceError(
        f"{named(table)}: {file.label} is not {table.encoding} at byte {offset}; declare its `encoding` in "
        "cem.yml (cp1256 for Persian and Arabic Windows files, cp1252 for Western ones)"
    )


def encoding_error(table: Table, file: SourceFile, path: Path) -> SourceError | None:
    """What is wrong with the encoding of a file that could not be read, if that is what is wrong."""
    with readable(table, file.label):
        offset = undecodable_offset(path)
    return None if offset is None else _undecodable(table, file, offset)


def head(table: Table, file: SourceFile, path: Path) -> str:
    """The beginning of a text file in UTF-8.

    Raises:
        SourceError: It is not UTF-8, or is a web page in place of data.
    """
    with path.open("rb") as handle:
        block = handle.read(CHUNK)
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(block)
    except UnicodeDecodeError as error:
        raise _undecodable(table, file, error.start) from error
    if "\0" in text.partition("\n")[0]:
        # UTF-16 of Latin text is valid UTF-8, with a NUL for every other letter.
        raise _undecodable(table, file, text.index("\0"))
    if text.lstrip()[:14].lower().startswith(("<!doctype html", "<html")):
        raise SourceError(
            f"{named(table)}: {file.label} is a web page, not {table.format}; a login or error page was "
            "probably saved in its place: deliver the file again",
            is_transient=True,
        )
    return text
