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
    """Series whose nominal duration is not what the exact ones of their samples round to."""
    return duckdb.execute(
        """
        SELECT series, s.duration_ns, least, most
        FROM (SELECT row_number() OVER () - 1 AS series, duration_ns FROM read_parquet(?)) s
        JOIN (SELECT series, min(duration_ns) AS least, max(duration_ns) AS most FROM read_parquet(?) GROUP BY series) USING (series)
        WHERE s.duration_ns IS NULL
           OR (least = 0) <> (s.duration_ns = 0)
           OR greatest(most - s.duration_ns, s.duration_ns - least) > CASE WHEN s.duration_ns >= 1000000000 THEN 500000000 ELSE s.duration_ns / 4 END
        """,
        [str(block / "series.parquet"), str(block / "samples.parquet")],
    ).fetchall()


def attributes(block):
    """Attributes by series and their values that are listed otherwise than samples have them."""
    samples = str(block / "samples.parquet")
    columns = [row[0] for row in duckdb.execute("DESCRIBE SELECT * FROM read_parquet(?)", [samples]).fetchall()]
    wrong = []
    for column in columns:
        prefix, _, name = column.partition(".")
        if prefix not in ("attribute", "attribute_integer"):
            continue
        quoted = '"' + column.replace('"', '""') + '"'
        wrong += duckdb.execute(
            f"""
            WITH listed AS (SELECT series, value, min_time_ns, max_time_ns, truncated FROM read_parquet(?) WHERE name = ?),
            stored AS (
                SELECT series, CAST({quoted} AS VARCHAR) AS value, min(time_ns) AS first, max(time_ns) AS last
                FROM read_parquet(?) WHERE {quoted} IS NOT NULL GROUP BY GROUPING SETS ((series, {quoted}), (series))
            )
            SELECT ?, * FROM listed FULL JOIN stored ON listed.series = stored.series AND listed.value IS NOT DISTINCT FROM stored.value
            WHERE listed.truncated IS DISTINCT FROM true AND (min_time_ns IS DISTINCT FROM first OR max_time_ns IS DISTINCT FROM last)
            """,
            [str(block / "attributes.parquet"), name, samples, name],
        ).fetchall()
    return wrong


def locations(block):
    """Nodes whose location is neither shared nor in their partition's range, by series.parquet and block.json."""
    shared = json.loads((block / "block.json").read_text())["locations"]["shared_locations"]
    return duckdb.execute(
        """
        WITH partitions AS (SELECT DISTINCT partition_index, first_node, node_count, first_location, location_count FROM read_parquet(?)),
        nodes AS (SELECT row_number() OVER () - 1 AS node, location FROM read_parquet(?))
        SELECT node, location, partition_index
        FROM nodes JOIN partitions ON node > first_node AND node < first_node + node_count
        WHERE location >= ? AND (location < first_location OR location >= first_location + location_count)
        """,
        [str(block / "series.parquet"), str(block / "nodes.parquet"), shared],
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
        for what in (durations, attributes, locations):
            try:
                wrong = what(block)
                check(f"{what.__name__} in {block.name}", not wrong, f"{wrong[:5]}")
            except Exception as error:
                check(f"{what.__name__} in {block.name}", False, f"{error}")
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
