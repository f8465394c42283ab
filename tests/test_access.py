"""Who is let in: exact addresses and domains, and nobody where the secrets leave a doubt."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from browser import NewPage, served

from app.access import Access
from kb.store import Home

AUTH = """
[auth]
redirect_uri = "https://papers.example.org/oauth2callback"
cookie_secret = "0123456789abcdef0123456789abcdef"
client_id = "id"
client_secret = "secret"
server_metadata_url = "https://accounts.example.org/.well-known/openid-configuration"
"""
ACCESS = """
[access]
emails = ["Ada@Lab.example.org", "jürgen@bücher.example", "*@house.example.org"]
domains = ["open.example.org"]
"""


def access(secrets: str, address: str = "localhost") -> Access:
    return Access.of(tomllib.loads(secrets), address)


@pytest.mark.parametrize(
    "email",
    ["ada@lab.example.org", "ADA@LAB.EXAMPLE.ORG", "jürgen@bücher.example", "jürgen@xn--bcher-kva.example", "x@open.example.org",
     "anyone@house.example.org"],
)  # fmt: skip
def test_an_exact_address_or_domain_is_let_in(email: str) -> None:
    found = access(AUTH + ACCESS)
    assert found.problem == ""
    assert found.admits(email, verified=True)
    for said in (False, None, "true", 1):
        assert not found.admits(email, said)


@pytest.mark.parametrize(
    "email",
    [
        "eve@lab.example.org",
        "ada@lab.example.org.evil.example",
        "x@sub.open.example.org",
        "x@evil.example,y@open.example.org",
        "x@evil.example\n@open.example.org",
        "x@evil.example@open.example.org",
        "x y@open.example.org",
        "@open.example.org",
        "open.example.org",
        "*@open.example.org",
        '"x"@open.example.org',
        "x@open.example.org ",
        "x\u200b@open.example.org",
        "ada@lab.example.or\u1d4d",
        "x@\u212atest.example",
        "x@hou\u017fe.example.org",
        "ju\u0308rgen@bücher.example",
        "",
        None,
        ["ada@lab.example.org"],
    ],
)
def test_nobody_else_is(email: object) -> None:
    assert not access(AUTH + ACCESS).admits(email, verified=True)


def test_letters_that_only_resemble_each_other_stay_apart() -> None:
    found = access(AUTH + '[access]\nemails = ["strasse@x.example", "k@x.example"]\ndomains = ["strasse.example", "k.example"]')
    assert found.admits("K@x.example", verified=True)
    for email in ("straße@x.example", "\u212a@x.example", "a@straße.example", "a@\u212a.example"):
        assert not found.admits(email, verified=True)


@pytest.mark.parametrize(
    ("secrets", "told"),
    [
        (ACCESS, "The section [auth] is missing"),
        (AUTH, "The section [access] is missing"),
        (AUTH + "[acess]\nemails = ['a@b.example']", "The section [access] is missing"),
        ("access = 1\n" + AUTH, "The section [access] is missing"),
        ("auth = 'yes'\n" + ACCESS, "The section [auth] is missing"),
        ("[Auth]\nclient_id = 'x'", "'Auth' is not read"),
        ("[acces]\nemails = []", "'acces' is not read"),
        ("emails = ['a@b.example']", "'emails' is not read"),
        ("client_id = 'x'", "'client_id' is not read"),
        (AUTH + "[access]\nemails = '*@lab.example.org'", "emails of [access] has to be a list of texts"),
        (AUTH + "[access]\nemails = 'a@lab.example.org'", "emails of [access] has to be a list of texts"),
        (AUTH + "[access]\nemails = [['a@lab.example.org']]", "emails of [access] has to be a list of texts"),
        (AUTH + "[access]\nemails = [1]", "emails of [access] has to be a list of texts"),
        (AUTH + "[access]\nemails = true", "emails of [access] has to be a list of texts"),
        (AUTH + "[access]\ndomains = 'lab.example.org'", "domains of [access] has to be a list of texts"),
        (AUTH + "[access]", "[access] names nobody"),
        (AUTH + "[access]\nemails = []", "[access] names nobody"),
        (AUTH + "[access]\nemail = ['a@b.example']", "[access] has 'email'"),
        (AUTH + "[access]\nEmails = ['a@b.example']", "[access] has 'Emails'"),
        (AUTH + "[access]\nemails = ['*']", "'*' is no address"),
        (AUTH + "[access]\nemails = ['']", "'' is no address"),
        (AUTH + "[access]\nemails = ['a@b.example', 'lab.example.org']", "'lab.example.org' is no address"),
        (AUTH + "[access]\nemails = ['*@*.example.org']", "'*.example.org' is no domain"),
        (AUTH + "[access]\nemails = ['*@*']", "'*' is no domain"),
        (AUTH + "[access]\nemails = ['?da@lab.example.org']", "'?da@lab.example.org' is no address"),
        (AUTH + "[access]\nemails = ['[a]da@lab.example.org']", "'[a]da@lab.example.org' is no address"),
        (AUTH + "[access]\nemails = ['a@b.example, c@b.example']", "is no domain"),
        (AUTH + "[access]\nemails = ['a@b.example ']", "is no domain"),
        (AUTH + "[access]\ndomains = ['*.example.org']", "'*.example.org' is no domain"),
        (AUTH + "[access]\ndomains = ['@example.org']", "'@example.org' is no domain"),
        (AUTH + "[access]\ndomains = ['org']", "'org' is no domain"),
        (AUTH + "[access]\ndomains = ['.example.org']", "'.example.org' is no domain"),
        (AUTH + "[access]\ndomains = ['']", "'' is no domain"),
        (AUTH.replace('client_id = "id"', "") + ACCESS, "[auth] needs client_id"),
        (AUTH.replace('"id"', "7") + ACCESS, "[auth] needs client_id"),
        (AUTH.replace('"id"', '" "') + ACCESS, "[auth] needs client_id"),
        (AUTH.replace("0123456789abcdef0123456789abcdef", "short") + ACCESS, "cookie_secret of [auth]"),
        (AUTH.replace("0123456789abcdef0123456789abcdef", "a long random text of your own") + ACCESS, "cookie_secret of [auth]"),
    ],
)
def test_a_doubt_lets_nobody_in(secrets: str, told: str) -> None:
    found = access(secrets)
    assert found.sign_in
    assert told in found.problem
    for email in ("a@b.example", "ada@lab.example.org", "x@lab.example.org", "", None):
        assert not found.admits(email, verified=True)


def test_secrets_of_something_else_are_no_sign_in_on_this_machine_alone() -> None:
    assert access("[connections.sql]\nurl = 'sqlite://'") == Access()
    for address in ("0.0.0.0", "192.0.2.1", "", "::"):
        assert "open to others" in access("[connections.sql]\nurl = 'sqlite://'", address).problem
        assert "open to others" in access("", address).problem


@pytest.mark.parametrize("kind", ["malformed", "latin", "folder", "dangling", "none", "right"])
def test_the_file_itself(kind: str, tmp_path: Path) -> None:
    path = tmp_path / ".streamlit" / "secrets.toml"
    path.parent.mkdir()
    match kind:
        case "malformed":
            path.write_text(AUTH + ACCESS + "\n[access\n", encoding="utf-8")
        case "latin":
            path.write_bytes((AUTH + ACCESS).encode("latin-1"))
        case "folder":
            path.mkdir()
        case "dangling":
            path.symlink_to(tmp_path / "nowhere")
        case "right":
            path.write_text(AUTH + ACCESS, encoding="utf-8")
    code = "from app.access import Access; a = Access.current(); "
    code += "print(a.sign_in, bool(a.problem), a.admits('x@open.example.org', True))"
    found = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"HOME": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == {"none": ["False", "False", "False"], "right": ["True", "False", "True"]}.get(
        kind, ["True", "True", "False"]
    )


@pytest.mark.parametrize("secrets", [ACCESS, AUTH + ACCESS + "\n[access\n", AUTH + "[access]\nemails = '*@lab.example.org'"])
def test_a_shut_app_shows_nothing_and_says_why_where_it_was_started(
    built: Home, new_page: NewPage, tmp_path: Path, secrets: str
) -> None:
    (tmp_path / ".streamlit").mkdir()
    (tmp_path / ".streamlit" / "secrets.toml").write_text(secrets, encoding="utf-8")
    log = tmp_path / "app.log"
    with served(built, log, "--no-browser", HOME=str(tmp_path)) as address:
        page = new_page()
        for place in ("/", "/paper?id=1706.03762", "/lists", "/map", "/trends", "/digest", "/ingest"):
            page.goto(address + place)
            page.get_by_text("This app is shut").wait_for()
            assert "Attention" not in page.inner_text("body")
            assert page.get_by_role("textbox").or_(page.locator("canvas, input")).count() == 0
    assert "Nobody is let in until the sign-in is set up right" in log.read_text(encoding="utf-8")
