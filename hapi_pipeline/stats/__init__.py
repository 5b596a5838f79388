"""Statistics on plain arrays and numbers: no tables, no files, no Dagster."""
