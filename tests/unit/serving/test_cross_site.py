import pytest

from sidebyside.serving.cross_site import refusal

LOCAL = "127.0.0.1:5001"


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", LOCAL, "[::1]:5001", "192.168.1.2:80", "localhost", "LOCALHOST:5001"),
        *("container:5001", "server.example:5001", None),
    ],
)
def test_this_computer_is_accepted_by_its_addresses_and_given_name(host: str | None) -> None:
    assert refusal(host, None, "server.example") is None


@pytest.mark.parametrize(
    "host",
    [
        *("site.example", "site.example:5001", "127.0.0.1.site.example", "user@site.example"),
        *("localhost.site.example", "server.example.site.example", "[::1", "", ":5001"),
    ],
)
def test_the_name_of_a_web_site_is_refused(host: str) -> None:
    reason = refusal(host, None, "server.example")
    assert reason == f"Host is {host}: use an IP address, localhost or the name given with --host"


@pytest.mark.parametrize(
    "origin",
    [
        *("http://site.example", "https://127.0.0.1", "http://127.0.0.1:5002", "null", ""),
        *("http://localhost:5001", f"http://{LOCAL}.site.example", "http://site@127.0.0.1:5001"),
    ],
)
def test_a_page_of_another_web_site_is_refused(origin: str) -> None:
    reason = refusal(LOCAL, origin, "127.0.0.1")
    assert reason == f"Origin is {origin}: requests of other web sites are refused"


@pytest.mark.parametrize("origin", [f"http://{LOCAL}", f"https://{LOCAL}", f"HTTP://{LOCAL}"])
def test_its_own_page_is_accepted(origin: str) -> None:
    assert refusal(LOCAL, origin, "127.0.0.1") is None


def test_a_long_value_is_cut_in_the_reason() -> None:
    assert len(refusal("a." + "b" * 10_000, None, "") or "") < 200
