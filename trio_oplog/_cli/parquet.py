"""Operations as a Parquet file, with the columns of the CSV in their own types.  The extra ``parquet``."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import IO, Final

import pyarrow as pa
import pyarrow.parquet as pq
import trio

from trio_oplog import _wire
from trio_oplog.collector._streams import COLUMNS, column_values

_TIME: Final = pa.timestamp("us", tz="UTC")
_TYPES: Final = {
    "started_at": _TIME,
    "completed_at": _TIME,
    "duration_ms": pa.int64(),
    "waited_ms": pa.int64(),
    "is_error": pa.bool_(),
}
SCHEMA: Final = pa.schema([(name, _TYPES.get(name, pa.string())) for name in COLUMNS])


async def write_parquet(lists: AsyncGenerator[list[bytes], None], file: IO[bytes]) -> None:
    """Write records; one row group for each list.

    Args:
        lists: The bytes of records.
        file: Where to; need not be seekable.
    """
    with pq.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
        async with aclosing(lists):
            async for bodies in lists:
                await trio.to_thread.run_sync(_write, writer, bodies)


def _write(writer: pq.ParquetWriter, bodies: list[bytes]) -> None:
    rows = [column_values(_wire.decode(body)) for body in bodies]
    table = pa.Table.from_arrays(
        [pa.array(values, field.type) for field, values in zip(SCHEMA, zip(*rows, strict=True), strict=True)], schema=SCHEMA
    )
    writer.write_table(table)
