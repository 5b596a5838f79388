"""The pages of the report, but for the jobs: each a function from the sources to a page."""
