"""Curation: which posts become benchmark jobs, and why the others do not."""
