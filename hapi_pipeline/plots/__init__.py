"""Charts: pure functions from figures to SVG text, for pages and for files; the one home of all plots."""
