"""The open pipeline that keeps a benchmark of human + agent work alive every month."""

__version__ = "0.1.0"
