"""Writes every row of a database as JSON lines and puts such a dump into an empty database.

    dump = dump_into(tar, connection)          # in one transaction: all tables of one moment
    restore(url, tar)

The dump is neither SQLite's nor PostgreSQL's: what was written from one can be restored into the
other. Tables are read from the database itself, not from the models, so that a database of an
older schema can be dumped before it is upgraded. A line is a row's values in the order of the
columns that the first line names; times are ISO 8601 in UTC, bytes are base64.
"""

from __future__ import annotations

import base64
import io
import itertools
import json
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import IO, Any

import sqlalchemy as sa
from alembic.runtime.migration import MigrationContext

from db.engine import make_engine
from db.migrate import SchemaError, check_foreign_keys, upgrade_to

BATCH = 1000
VERSION_TABLE = "alembic_version"
DESCRIPTION = "dump.json"
Lines = Iterator[str]


@dataclass(frozen=True)
class Dump:
    """What an archive holds: the schema it was taken from, and each table's number of rows."""

    revision: str
    rows: dict[str, int]


def dump_into(tar: tarfile.TarFile, connection: sa.Connection) -> Dump:
    """Add every table to the archive, as tables/NAME.jsonl.

    Run it in one transaction: then all tables are of one moment, however long it takes and
    whatever is voted meanwhile.
    """
    revision = MigrationContext.configure(connection).get_current_revision()
    if revision is None:
        raise SchemaError("the database has no schema yet; there is nothing to back up")
    rows: dict[str, int] = {}
    for table in _tables(connection):
        with tempfile.TemporaryFile() as file:  # an archive wants to know a member's size first
            rows[table.name] = -1  # the line of names is no row
            for line in _lines(connection, table):
                file.write(line.encode())
                rows[table.name] += 1
            _add_member(tar, _member(table.name), file)
    dump = Dump(revision, rows)
    _add_member(tar, DESCRIPTION, io.BytesIO(json.dumps(asdict(dump)).encode()))
    return dump


def read_description(tar: tarfile.TarFile) -> Dump:
    """What the archive says it holds; SchemaError when it is no dump."""
    try:
        file = tar.extractfile(DESCRIPTION)
    except KeyError as error:
        raise SchemaError(f"this is no backup of the studio: it holds no {DESCRIPTION}") from error
    assert file is not None
    return Dump(**json.loads(file.read()))


def _add_member(tar: tarfile.TarFile, name: str, file: IO[bytes]) -> None:
    member = tarfile.TarInfo(name)
    member.size = file.seek(0, io.SEEK_END)
    member.mtime = int(datetime.now(UTC).timestamp())
    file.seek(0)
    tar.addfile(member, file)


def restore(url: str, tar: tarfile.TarFile) -> Dump:
    """Make the dump's schema in the empty database at `url` and put its rows in: all or nothing.

    Raises:
        SchemaError: the database is not empty; the dump is of a schema that this code does not
            know, lacks rows that it says it holds, or refers to rows that it does not hold.
    """
    dump = read_description(tar)
    engine = make_engine(url, foreign_keys=False)
    try:
        with engine.execution_options(sqlite_begin="IMMEDIATE").begin() as connection:
            shown = engine.url.render_as_string(hide_password=True)
            if sa.inspect(connection).get_table_names():
                raise SchemaError(f"{shown} is not empty; name an empty database or a new file")
            upgrade_to(connection, dump.revision)
            for table in _tables(connection):
                found = _fill(connection, table, _read(tar, table.name))
                if found != dump.rows.get(table.name, 0):
                    raise SchemaError(
                        f"the backup holds {found} rows of {table.name!r} and should hold "
                        f"{dump.rows.get(table.name, 0)}; it is damaged: take another one"
                    )
            check_foreign_keys(connection)
        return dump
    finally:
        engine.dispose()


def _member(table: str) -> str:
    return f"tables/{table}.jsonl"


def _read(tar: tarfile.TarFile, table: str) -> Lines:
    try:
        file = tar.extractfile(_member(table))
    except KeyError:
        return  # of a newer table than the dump: the count says whether rows are missing
    assert file is not None
    for line in file:
        yield line.decode()


def _tables(connection: sa.Connection) -> list[sa.Table]:
    """Every table of the studio, those that others refer to first."""
    metadata = sa.MetaData()
    metadata.reflect(connection)
    for table in metadata.tables.values():
        for column in table.columns:
            if isinstance(column.type, sa.JSON):  # NULL is kept as NULL, not as JSON's null
                column.type = sa.JSON(none_as_null=True)
    return [table for table in metadata.sorted_tables if table.name != VERSION_TABLE]


# --- out -------------------------------------------------------------------------------------


def _lines(connection: sa.Connection, table: sa.Table) -> Lines:
    yield _encode([column.name for column in table.columns])
    rows = connection.execution_options(yield_per=BATCH).execute(
        sa.select(table).order_by(*table.primary_key.columns)
    )
    for row in rows:
        yield _encode([_to_plain(value) for value in row])


def _encode(values: list[Any]) -> str:
    return json.dumps(values, ensure_ascii=False, separators=(",", ":")) + "\n"


def _to_plain(value: Any) -> Any:
    if isinstance(value, datetime):
        aware = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        return aware.isoformat()
    if isinstance(value, bytes | memoryview):
        return base64.b64encode(bytes(value)).decode()
    return value


# --- in --------------------------------------------------------------------------------------


def _fill(connection: sa.Connection, table: sa.Table, lines: Iterable[str]) -> int:
    """Insert the lines; a column by which rows refer to rows of the same table is set last."""
    rows = (json.loads(line) for line in lines)
    names = next(rows, None)
    if names is None:
        return 0
    # The schema was made by the migrations, which may have put rows of their own in.
    connection.execute(sa.delete(table))
    unknown = [name for name in names if name not in table.columns]
    if unknown:
        raise SchemaError(
            f"the dump of {table.name!r} has columns that the schema lacks: {unknown}"
        )
    columns = [table.columns[name] for name in names]
    own = [c.name for c in columns if any(key.column.table is table for key in c.foreign_keys)]
    (key,) = table.primary_key.columns
    later: list[dict[str, Any]] = []
    count = 0
    for batch in _batches(rows):
        values = [
            {c.name: _from_plain(c, value) for c, value in zip(columns, row, strict=True)}
            for row in batch
        ]
        for name in own:
            later += [
                {"its_key": each[key.name], "its_value": each[name], "column": name}
                for each in values
                if each[name] is not None
            ]
            values = [each | {name: None} for each in values]
        connection.execute(sa.insert(table), values)
        count += len(values)
    for name in own:
        _refer(connection, table, key, name, [each for each in later if each["column"] == name])
    _continue_numbering(connection, table, key)
    return count


def _batches(rows: Iterator[Any]) -> Iterator[list[Any]]:
    while batch := list(itertools.islice(rows, BATCH)):
        yield batch


def _from_plain(column: sa.Column[Any], value: Any) -> Any:
    if value is None:
        return None
    if isinstance(column.type, sa.DateTime):
        moment = datetime.fromisoformat(value)
        return moment if column.type.timezone else moment.replace(tzinfo=None)
    if isinstance(column.type, sa.LargeBinary):
        return base64.b64decode(value)
    if isinstance(column.type, sa.Boolean):
        return bool(value)
    return value


def _refer(
    connection: sa.Connection,
    table: sa.Table,
    key: sa.Column[Any],
    name: str,
    values: list[dict[str, Any]],
) -> None:
    if values:
        statement = (
            sa.update(table)
            .where(key == sa.bindparam("its_key"))
            .values({name: sa.bindparam("its_value")})
        )
        connection.execute(statement, values)


def _continue_numbering(connection: sa.Connection, table: sa.Table, key: sa.Column[Any]) -> None:
    """PostgreSQL numbers new rows from a counter of its own, which inserted ids do not move."""
    if connection.dialect.name != "postgresql" or not isinstance(key.type, sa.Integer):
        return
    highest = connection.scalar(sa.select(sa.func.max(key)))
    if highest is not None:
        connection.execute(
            sa.select(sa.func.setval(sa.func.pg_get_serial_sequence(table.name, key.name), highest))
        )
