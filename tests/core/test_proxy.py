import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchd.core.proxy import Proxy, is_loopback, proxy_for

BOX = "http://box.example:11434"
P = "http://proxy.example:3128"


def test_loopback_is_known_in_every_spelling() -> None:
    own = [
        "127.0.0.1:11434",
        "http://localhost:1",
        "[::1]:11434",
        "0.0.0.0",
        "",
        ":11434",
        "http://127.8.8.8",
    ]
    assert all(
        map(is_loopback, [*own, "http://a.localhost:1", "[::ffff:127.0.0.1]:1", "LOCALHOST.", "[::]:1"])
    )
    others = [
        "10.0.0.7:11434",
        "https://gpu.example",
        "localhost.example",
        "http://[fe80::1]:1",
        "http://[x]:1",
    ]
    assert not any(map(is_loopback, others))


@pytest.mark.parametrize(
    "environ",
    [
        {"ALL_PROXY": "socks5://127.0.0.1:9"},
        {"HTTP_PROXY": "socks5h://127.0.0.1:9"},
        {"http_proxy": "http://proxy:port"},
        {"all_proxy": "garbage \x00"},
        {"NO_PROXY": "[::1", "HTTP_PROXY": P},
    ],
)
@pytest.mark.parametrize("url", ["http://127.0.0.1:11434", "http://localhost:11434", "http://[::1]:11434"])
def test_no_variable_matters_for_this_machine_itself(url: str, environ: dict[str, str]) -> None:
    assert proxy_for(url, environ) is None


@pytest.mark.parametrize(
    ("url", "environ", "variable"),
    [
        (BOX, {"HTTP_PROXY": P}, "HTTP_PROXY"),
        (BOX, {"HTTPS_PROXY": "http://other:1", "all_proxy": P}, "all_proxy"),
        (BOX, {"http_proxy": P, "HTTP_PROXY": "http://other:1"}, "http_proxy"),
        (BOX, {"http_proxy": " ", "HTTP_PROXY": P}, "HTTP_PROXY"),
        ("https://box.example", {"https_proxy": P, "http_proxy": "http://other:1"}, "https_proxy"),
    ],
)
def test_another_host_is_called_by_the_proxy_that_is_named_for_it(
    url: str, environ: dict[str, str], variable: str
) -> None:
    assert proxy_for(url, environ) == Proxy(P, variable)


@pytest.mark.parametrize(
    "value", ["proxy:3128", "socks5://u:p@proxy:1", "socks5h://[::1]:1", "https://proxy"]
)
def test_each_kind_of_proxy_may_be_named(value: str) -> None:
    found = proxy_for(BOX, {"ALL_PROXY": value})
    assert found is not None
    assert found.url.endswith(value)


@pytest.mark.parametrize(
    "value",
    [
        "http://proxy:port",
        "socks4://proxy:1",
        "http://",
        "http://[x]:1",
        "ftp://proxy",
        "http://a b:1",
        "é:1",
    ],
)
def test_what_no_client_can_call_is_refused_with_the_variables_name(value: str) -> None:
    with pytest.raises(ValueError, match="HTTP_PROXY is "):
        proxy_for(BOX, {"HTTP_PROXY": value})


def test_a_password_is_shown_nowhere() -> None:
    proxy = proxy_for(BOX, {"HTTP_PROXY": "http://me:hunter2@proxy:1"})
    assert "hunter2" not in repr(proxy)
    assert repr(proxy) == "the proxy proxy (HTTP_PROXY)"
    with pytest.raises(ValueError, match="HTTP_PROXY") as caught:
        proxy_for(BOX, {"HTTP_PROXY": "http://me:hunter2@proxy:port"})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "exceptions"),
    [
        ("box.example:1", "box.example"),
        ("box.example:1", "a, .example b"),
        ("box.example:1", "*.example"),
        ("BOX.example:1", "bOx.Example"),
        ("box.example:1", "*"),
        ("box.example:1", "box.example:1"),
        ("box.example:80", "http://box.example:80"),
        ("10.1.2.3:1", "10.0.0.0/8"),
        ("10.1.2.3:1", "10.1.2.3"),
        ("[fd00::7]:1", "[fd00::7]"),
        ("[fd00::7]:1", "fd00::7"),
        ("[fd00::7]:1", "[fd00::7]:1"),
        ("[fd00::7]:1", "fd00::/8"),
        ("[fd00::7]:1", "[fd00::]/8"),
    ],
)
def test_whom_no_proxy_names_is_called_directly(host: str, exceptions: str) -> None:
    assert proxy_for(f"http://{host}", {"ALL_PROXY": P, "NO_PROXY": exceptions}) is None


@pytest.mark.parametrize(
    ("host", "exceptions"),
    [
        ("box.example:1", "ox.example"),
        ("box.example:1", "box.example:2"),
        ("box.example:1", "box.example.org,..,.,"),
        ("10.1.2.3:1", "11.0.0.0/8,10.0.0.0/99,10.1.2,x/8,[10.1.2.3"),
        ("[fd00::7]:1", "[fd00::7]:2,fd00::8,::1/128"),
    ],
)
def test_and_nobody_else_is(host: str, exceptions: str) -> None:
    assert proxy_for(f"http://{host}", {"ALL_PROXY": P, "NO_PROXY": exceptions}) is not None


@given(st.text(max_size=30), st.text(max_size=30))
def test_no_value_of_a_variable_does_anything_else(proxy: str, exceptions: str) -> None:
    try:
        found = str(proxy_for(BOX, {"HTTP_PROXY": proxy, "NO_PROXY": exceptions}))
    except ValueError as error:
        found = str(error)
    assert found == "None" or "HTTP_PROXY" in found
