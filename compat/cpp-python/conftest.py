"""The broker as a fixture, and its stderr in the report of a failed test."""

import os
import shutil
import tempfile

import pytest

# The C++ client logs below $HOME. Set before it is loaded, so that it is another folder.
_home = tempfile.mkdtemp(prefix="kerolox-compat-cpp-home-")
os.environ["HOME"] = _home

from broker import Broker  # noqa: E402

_running = []


@pytest.fixture(scope="session")
def broker():
    """The broker that all tests but the restart test share."""
    shared = Broker()
    _running.append(shared)
    yield shared
    _running.remove(shared)
    shared.stop()


@pytest.fixture
def own_broker():
    """A broker for one test alone, which may kill it."""
    own = Broker()
    _running.append(own)
    yield own
    _running.remove(own)
    own.stop()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for each in _running:
            report.sections.append(("broker", each.stderr_tail()))


def pytest_unconfigure(config):
    shutil.rmtree(_home, ignore_errors=True)
