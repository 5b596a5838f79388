"""Asset checks: what must hold within a table and between tables."""
