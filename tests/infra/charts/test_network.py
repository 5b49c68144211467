"""No process that draws reaches anybody."""

import subprocess
import sys

import pytest

SCRIPT = """
import socket
from infra.charts.network import refuse_network
socket.socket(socket.AF_INET).close()
assert refuse_network()
for family in (socket.AF_INET, socket.AF_INET6):
    try:
        socket.socket(family)
    except PermissionError:
        print("refused")
socket.socketpair()
print("itself")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="NO LINUX: nothing was tried")
def test_sockets_that_lead_anywhere_are_refused() -> None:
    found = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["refused", "refused", "itself"]
