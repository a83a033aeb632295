-- A merge of one profile type over a whole block: cumulative and flat value by function, as a flame graph sums them.
-- Run inside a block's directory, after: SET VARIABLE profile_name = 'process_cpu'; SET VARIABLE sample_type = 'cpu';
WITH RECURSIVE
numbered AS (
    SELECT row_number() OVER () - 1 AS node, parent_distance, location
    FROM 'nodes.parquet'
),
leaves AS (
    SELECT row_number() OVER () - 1 AS stacktrace, leaf FROM 'stacktraces.parquet'
),
selected AS (
    SELECT row_number() OVER () - 1 AS series, *
    FROM 'series.parquet'
),
flat AS (
    SELECT l.leaf AS node, sum(s.value)::BIGINT AS value
    FROM 'samples.parquet' s
    JOIN selected USING (series)
    JOIN leaves l USING (stacktrace)
    WHERE selected.name = getvariable('profile_name') AND selected.sample_type = getvariable('sample_type')
    GROUP BY l.leaf
),
-- Every node on the way from a leaf to the root, once per leaf.
path AS (
    SELECT node AS leaf, node, value, true AS is_leaf FROM flat
    UNION ALL
    SELECT p.leaf, n.node - n.parent_distance, p.value, false
    FROM path p JOIN numbered n ON n.node = p.node
    WHERE n.parent_distance > 0
),
-- A function counts once per stacktrace, however often it recurs in it.
by_function AS (
    SELECT f.function_name, p.leaf, any_value(p.value) AS value,
           bool_or(p.is_leaf AND f.is_innermost) AS is_leaf
    FROM path p
    JOIN numbered n ON n.node = p.node AND n.parent_distance > 0
    JOIN (
        SELECT location, function_name,
               row_number() OVER (PARTITION BY location ORDER BY position) = 1 AS is_innermost
        FROM (SELECT *, row_number() OVER () AS position FROM 'locations.parquet')
    ) f ON f.location = n.location
    WHERE f.function_name IS NOT NULL
    GROUP BY f.function_name, p.leaf
)
SELECT function_name,
       sum(value)::BIGINT AS cumulative,
       coalesce(sum(value) FILTER (is_leaf), 0)::BIGINT AS flat
FROM by_function
GROUP BY function_name
ORDER BY flat DESC, function_name;
