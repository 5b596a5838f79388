-- Every column of every table with its type and meaning.
SELECT table_name, column_name, data_type, comment AS meaning
FROM duckdb_columns()
WHERE database_name = current_database() AND schema_name = 'main' AND NOT internal
    AND table_name IN (SELECT t.table_name FROM duckdb_tables() t WHERE t.database_name = current_database())
ORDER BY table_name, column_index
