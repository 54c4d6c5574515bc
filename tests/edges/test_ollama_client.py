"""The client of Ollama takes from the environment what it must, and nothing else."""

import os
import subprocess
import sys

import pytest

from tests.house import ROOT

IMPORT = (
    "import os; before = dict(os.environ); import batchd.edges.ollama.client as client; import ollama;"
    "assert dict(os.environ) == before;"
    "inner = ollama._client._client; print(inner._mounts or inner.base_url)"
)


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OLLAMA_HOST": "http://127.0.0.1:port"},
        {"HTTPS_PROXY": "http://proxy:port", "http_proxy": "nothing"},
        {"ALL_PROXY": "socks5h://127.0.0.1:9", "all_proxy": "gopher://127.0.0.1:9", "NO_PROXY": "[::1]/"},
        {"SSL_CERT_FILE": "/nowhere", "SSL_CERT_DIR": "/nowhere either"},
    ],
)
def test_the_package_makes_no_client_from_the_environment_when_it_is_imported(
    variables: dict[str, str],
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORT],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "http://127.0.0.1:11434\n"), done.stderr
