-- Where to start: every table with what it holds and how many rows it has.
SELECT table_name, estimated_size AS n_rows, comment AS meaning
FROM duckdb_tables() WHERE database_name = current_database() ORDER BY table_name
