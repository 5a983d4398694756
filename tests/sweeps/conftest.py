"""Settings of the sweep tests."""

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _same_environment_afterwards() -> Iterator[None]:
    """A driver that runs inside the test process sets variables that Ray reads."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)
