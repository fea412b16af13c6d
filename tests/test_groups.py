"""Tests that share what is dear to build run in one process of `make test`."""

import pytest


@pytest.mark.xdist_group("shared")
@pytest.mark.parametrize("value", ["", "a[b]", "a::b"])
def test_a_group_is_in_the_id_by_which_tests_are_dealt_out(
    request: pytest.FixtureRequest, value: str
) -> None:
    if not request.config.getoption("loadgroup", False):
        pytest.skip("one process runs everything")
    assert request.node.nodeid.endswith("]@shared")
