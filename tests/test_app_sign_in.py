"""Signing in to an app that is open to others: the whole round with a provider, in a real browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import urlencode

import openid_provider
import pytest
from browser import NewPage, press, served, settled
from openid_provider import CLIENT_ID, CLIENT_SECRET, FAULTS, Provider
from playwright.sync_api import Page, expect

from kb.store import Home

SECRETS = """
[auth]
redirect_uri = "http://localhost:{port}/oauth2callback"
cookie_secret = "0123456789abcdef0123456789abcdef"
client_id = %s
client_secret = %s
server_metadata_url = "%s/.well-known/openid-configuration"

[access]
emails = ["Ada@lab.example.org"]
domains = ["Open.example.org"]
"""


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with openid_provider.provider() as running:
        yield running


@pytest.fixture(scope="module")
def app(built: Home, provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an app over the thirty papers that asks people to sign in."""
    folder = tmp_path_factory.mktemp("sign-in")
    (folder / ".streamlit").mkdir()
    secrets = SECRETS % (json.dumps(CLIENT_ID), json.dumps(CLIENT_SECRET), provider.issuer)
    (folder / ".streamlit" / "secrets.toml").write_text(secrets, encoding="utf-8")
    with served(built, folder / "app.log", "--no-browser", HOME=str(folder)) as address:
        provider.redirect_uri = f"{address}/oauth2callback"
        yield address


@pytest.fixture(autouse=True)
def honest(provider: Provider) -> None:
    """Each test begins with a provider that tells the truth."""
    provider.fault = ""
    provider.claims = {"email": "ada@lab.example.org", "email_verified": True}
    provider.served.clear()


def sign_in(page: Page, answer: str = "Continue") -> None:
    """From the app's button over the provider's page back to the app."""
    settled(page)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name=answer).click()


def expect_admitted(page: Page) -> None:
    expect(page.get_by_role("textbox", name="Find papers")).to_be_visible()
    page.get_by_text("30 papers").wait_for()


def expect_shut_out(page: Page, app: str, *places: str) -> None:
    """These pages show nothing but the way to sign in."""
    for place in places:
        page.goto(app + place)
        page.get_by_role("button", name="Sign in").wait_for()
        settled(page)
        assert "Attention" not in page.inner_text("body")
        assert page.get_by_role("textbox").or_(page.locator("canvas, input")).count() == 0


def test_nothing_shows_before_signing_in_and_again_after_signing_out(app: str, provider: Provider, new_page: NewPage) -> None:
    page = new_page()
    expect_shut_out(page, app, "/", "/paper?id=1706.03762", "/lists", "/map", "/trends", "/digest", "/ingest")
    assert provider.served == []  # nobody was asked before the button
    sign_in(page)
    expect_admitted(page)
    places = [path for path in provider.served if path != "/.well-known/openid-configuration"]
    assert places == ["/authorize", "/authorize", "/token", "/keys"]
    page.goto(f"{app}/paper?id=1706.03762")
    page.get_by_role("heading", name="Attention Is All You Need").wait_for()
    page.get_by_text("Signed in as").wait_for()
    assert "Signed in as ada@lab.example.org" in page.inner_text("body").replace("\N{WORD JOINER}", "")
    other = new_page()  # another browser is another visitor
    other.goto(app)
    other.get_by_role("button", name="Sign in").wait_for()
    settled(page)
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("button", name="Sign in").wait_for()
    assert provider.signed_out == 1  # at the provider too
    expect_shut_out(page, app, "/", "/paper?id=1706.03762")


@pytest.mark.parametrize("fault", FAULTS)
def test_an_id_token_that_is_not_the_provider_s_word_is_refused(
    app: str, provider: Provider, new_page: NewPage, fault: str
) -> None:
    page = new_page()
    page.goto(app)
    provider.fault = fault
    sign_in(page)
    page.wait_for_url(f"{app}/")
    page.get_by_role("button", name="Sign in").wait_for()
    assert "/token" in provider.served  # the lie was told
    assert not [cookie for cookie in page.context.cookies() if cookie["name"].startswith("_streamlit_user")]
    expect(page.get_by_role("textbox")).to_have_count(0)


def test_an_answer_that_nobody_asked_for_is_refused(app: str, provider: Provider, new_page: NewPage) -> None:
    page = new_page()
    page.goto(app)
    settled(page)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="Continue").wait_for()
    request = dict(asked.split("=", 1) for asked in page.url.partition("?")[2].split("&"))
    stranger = new_page()  # to whom somebody sends a link with a code of their own
    stranger.goto(f"{app}/oauth2callback?{urlencode({'code': 'x' * 32, 'state': request['state']})}")
    stranger.get_by_role("button", name="Sign in").wait_for()
    page.goto(f"{app}/oauth2callback?{urlencode({'code': 'x' * 32, 'state': 'y' * 30})}")
    page.get_by_role("button", name="Sign in").wait_for()
    assert "/token" not in provider.served
    sign_in(page, "Cancel")
    page.get_by_role("button", name="Sign in").wait_for()
    assert "/token" not in provider.served


@pytest.mark.parametrize(
    ("claims", "told"),
    [
        ({"email": "eve@elsewhere.example", "email_verified": True}, "eve@elsewhere.example is not let in"),
        ({"email": "ada@lab.example.org", "email_verified": False}, "ada@lab.example.org is not let in"),
        ({"email": "ada@lab.example.org"}, "ada@lab.example.org is not let in"),
        ({"email_verified": True}, "This account is not let in"),
        ({"email": "<b>@x.example [x](javascript:y)", "email_verified": True}, "<b>@x.example [x](javascript:y) is not let in"),
    ],
    ids=["stranger", "unverified", "unsaid", "nameless", "hostile"],
)
def test_who_is_not_on_the_list_is_told_and_can_leave(
    app: str, provider: Provider, new_page: NewPage, claims: dict[str, object], told: str
) -> None:
    provider.claims = claims
    page = new_page()
    page.goto(app)
    sign_in(page)
    alert = page.get_by_role("alert")
    alert.wait_for()
    assert told in alert.inner_text().replace("\N{WORD JOINER}", "")
    assert page.get_by_role("textbox").count() == 0
    assert alert.locator("a, b").count() == 0
    settled(page)
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("button", name="Sign in").wait_for()


def test_a_domain_lets_a_whole_house_in(app: str, provider: Provider, new_page: NewPage) -> None:
    provider.claims = {"email": "Grace@Open.Example.Org", "email_verified": True}
    page = new_page()
    page.goto(app)
    sign_in(page)
    expect_admitted(page)
    press(page.get_by_role("button", name="Attention Is All You Need"))  # the whole app works
    page.get_by_role("link", name="Attention Is All You Need").wait_for()
