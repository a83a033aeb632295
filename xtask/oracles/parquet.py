"""Reads a data directory's blocks with DuckDB and pyarrow, and compares the documented merge with the store's own answers.

    parquet.py DATA_DIRECTORY MERGE_SQL EXPECTED_JSON

EXPECTED_JSON is a list of {"profile_name", "sample_type", "functions": [{"function", "flat", "cumulative"}]}.
The last line is `N passed, N failed`.
"""

import json
import os
import pathlib
import sys

import duckdb
import pyarrow.parquet

passed = failed = 0


def check(name, holds, otherwise=""):
    global passed, failed
    if holds:
        passed += 1
    else:
        failed += 1
        print(f"FAIL {name}: {otherwise}")


def merged(blocks, sql, profile_name, sample_type):
    """Flat and cumulative value of each function over all blocks."""
    sums = {}
    for block in blocks:
        os.chdir(block)
        connection = duckdb.connect()
        connection.execute("SET VARIABLE profile_name = ?", [profile_name])
        connection.execute("SET VARIABLE sample_type = ?", [sample_type])
        for function, cumulative, flat in connection.execute(sql).fetchall():
            before = sums.get(function, (0, 0))
            sums[function] = (before[0] + flat, before[1] + cumulative)
    return sums


def durations(block):
    """Series whose duration is not what their samples have: all the same, or null."""
    return duckdb.execute(
        """
        SELECT series, duration_ns, least, most
        FROM (SELECT row_number() OVER () - 1 AS series, duration_ns FROM read_parquet(?))
        JOIN (SELECT series, min(duration_ns) AS least, max(duration_ns) AS most FROM read_parquet(?) GROUP BY series) USING (series)
        WHERE duration_ns IS DISTINCT FROM CASE WHEN least = most THEN least END
        """,
        [str(block / "series.parquet"), str(block / "samples.parquet")],
    ).fetchall()


def main():
    data, sql_path, expected_path = (pathlib.Path(argument).resolve() for argument in sys.argv[1:])
    sql = sql_path.read_text()
    expected = json.loads(expected_path.read_text())
    files = sorted(data.rglob("*.parquet"))
    blocks = sorted({file.parent for file in files})
    check("there are blocks", len(blocks) > 0, f"none in {data}")
    for file in files:
        name = f"{file.parent.name}/{file.name}"
        try:
            rows = pyarrow.parquet.read_table(file).num_rows
            counted = duckdb.execute("SELECT count(*) FROM read_parquet(?)", [str(file)]).fetchone()[0]
            check(name, rows == counted, f"pyarrow reads {rows} rows, DuckDB {counted}")
            types = {str(column.type) for column in pyarrow.parquet.read_schema(file)}
            check(f"{name} has signed columns", not any("uint" in kind for kind in types), f"{types}")
        except Exception as error:  # any reader's refusal is the finding
            check(name, False, f"{error}")
    for block in blocks:
        try:
            wrong = durations(block)
            check(f"durations of series in {block.name}", not wrong, f"{wrong[:5]}")
        except Exception as error:
            check(f"durations of series in {block.name}", False, f"{error}")
    for one in expected:
        name = f"merge of {one['profile_name']}:{one['sample_type']}"
        try:
            got = merged(blocks, sql, one["profile_name"], one["sample_type"])
        except Exception as error:
            check(name, False, f"{error}")
            continue
        want = {row["function"]: (row["flat"], row["cumulative"]) for row in one["functions"]}
        differing = {key: (got.get(key), want.get(key)) for key in got.keys() | want.keys() if got.get(key) != want.get(key)}
        check(name, want and not differing, f"{len(differing)} of {len(want)} functions differ: {dict(list(differing.items())[:5])}")
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed or not passed else 0)


main()
