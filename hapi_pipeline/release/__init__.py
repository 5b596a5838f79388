"""A release: the benchmark as a dataset that can be cited, rebuilt byte for byte and compared with the one before."""

from hapi_pipeline.release.build import GateClosedError, Release, build_release, releases

__all__ = ["GateClosedError", "Release", "build_release", "releases"]
