"""What the tests of downloads share."""

from collections.abc import Iterator

import pytest
from local_server import CONTENT, Server


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    server.contents["/a.zip"] = CONTENT
    yield server
    server.close()
