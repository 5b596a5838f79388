"""A real PostgreSQL of its own for the tests of a deployment, in a folder that goes away with them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.deploy.cluster import Cluster, bin_folder, cluster


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    if bin_folder() is None:
        pytest.skip("needs a PostgreSQL server: apt-get install postgresql")
    with cluster() as found:
        yield found
