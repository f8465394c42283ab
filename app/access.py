"""Who is let in: the sections `[auth]` and `[access]` of Streamlit's secrets file, read so that any doubt lets nobody in.

    [access]
    emails = ["ada@example.org"]
    domains = ["lab.example.org"]

Addresses and domains are exact: a domain does not include its subdomains. `*@lab.example.org` among the addresses stands for that
domain, as in earlier versions; there are no other patterns.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import idna
import streamlit as st
from streamlit.errors import StreamlitSecretNotFoundError

_PROVIDER = ("redirect_uri", "cookie_secret", "client_id", "client_secret", "server_metadata_url")
_SECRET_LENGTH = 16  # characters; who guesses the cookie's secret signs in as anybody
_EXAMPLE_SECRETS = ("a long random text", "a long random text of your own")  # of the documentation
#: Parts of names that say that a sign-in is meant.
_MEANT = ("auth", "access", "email", "domain", "allow", "login", "oidc", *_PROVIDER)
#: Addresses at which an app is for this machine alone.
LOOPBACK = ("localhost", "127.0.0.1", "::1")
_LOCAL_PART = re.compile(r"[^\s@,;:<>()\[\]\\\"*?]{1,64}")
_ASCII_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}


@dataclass(frozen=True, slots=True)
class Access:
    """What the secrets say about who is let in."""

    sign_in: bool = False
    """Whether visitors have to sign in."""
    emails: frozenset[str] = frozenset()
    """Normalised addresses that are let in."""
    domains: frozenset[str] = frozenset()
    """Normalised domains, every address of which is let in."""
    problem: str = ""
    """What is wrong with the secrets; nobody is let in then. For whoever runs the app, not for visitors."""

    @staticmethod
    @cache
    def current() -> Access:
        """The access that this process started with."""
        paths = [path for path in map(Path, st.config.get_option("secrets.files")) if _exists(path)]
        if not paths:
            return Access()
        try:
            secrets = st.secrets.to_dict()
        except (StreamlitSecretNotFoundError, OSError, ValueError) as error:
            return Access(True, problem=f"{', '.join(map(str, paths))} cannot be read ({' '.join(str(error).split())}).")
        return Access.of(secrets, st.config.get_option("server.address") or "")

    @staticmethod
    def of(secrets: Mapping[str, Any], address: str) -> Access:
        """The access that secrets give to an app that listens at an address."""
        try:
            return _access(secrets, address)
        except _SecretsError as error:
            return Access(True, problem=str(error))

    def admits(self, email: object, verified: object) -> bool:
        """Whether the owner of an address is let in, given what the provider says about it."""
        if self.problem or verified is not True or not isinstance(email, str):
            return False
        try:
            address = normalised_email(email)
        except ValueError:
            return False
        return address in self.emails or address.rpartition("@")[2] in self.domains


class _SecretsError(ValueError):
    """The secrets leave a doubt; the message says which."""


def _access(secrets: Mapping[str, Any], address: str) -> Access:
    if "auth" not in secrets and "access" not in secrets:
        for name in secrets:
            if any(word in name.casefold() for word in _MEANT) or get_close_matches(
                name.casefold(), ("auth", "access"), cutoff=0.7
            ):
                raise _SecretsError(f"{name!r} is not read; the sections are [auth] and [access].")
        if address not in LOOPBACK:
            where = address or "any address"
            raise _SecretsError(f"The secrets have neither [auth] nor [access], and the app is open to others at {where}.")
        return Access()
    for name in ("auth", "access"):
        if not isinstance(secrets.get(name), Mapping):
            raise _SecretsError(f"The section [{name}] is missing.")
    auth, access = secrets["auth"], secrets["access"]
    for name in _PROVIDER:
        if not isinstance(auth.get(name), str) or not auth[name].strip():
            raise _SecretsError(f"[auth] needs {name}, a text.")
    if len(auth["cookie_secret"]) < _SECRET_LENGTH or auth["cookie_secret"] in _EXAMPLE_SECRETS:
        raise _SecretsError(f"cookie_secret of [auth] has to be a random text of at least {_SECRET_LENGTH} characters.")
    if unknown := sorted(access.keys() - {"emails", "domains"}):
        raise _SecretsError(f"[access] has {unknown[0]!r}; it takes emails and domains.")
    emails: set[str] = set()
    domains = {_checked(_normalised_domain, domain) for domain in _texts(access, "domains")}
    for email in _texts(access, "emails"):
        if email.startswith("*@"):
            domains.add(_checked(_normalised_domain, email[2:]))
        else:
            emails.add(_checked(normalised_email, email))
    if not emails and not domains:
        raise _SecretsError("[access] names nobody: give it emails, domains or both.")
    return Access(True, frozenset(emails), frozenset(domains))


def _texts(section: Mapping[str, Any], name: str) -> list[str]:
    found = section.get(name, [])
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise _SecretsError(f'{name} of [access] has to be a list of texts: {name} = ["…"].')
    return found


def _checked(normalise: Any, text: str) -> str:  # noqa: ANN401
    try:
        return str(normalise(text))
    except ValueError as error:
        raise _SecretsError(f"[access]: {error}") from error


def normalised_email(text: str) -> str:
    """The address in the one form in which addresses are compared. Raises ValueError where it is none.

    A to Z become small letters, all else before the `@` stays as it is; the domain is in IDNA's ASCII form.
    """
    local, at, domain = text.partition("@")
    if not at or not _LOCAL_PART.fullmatch(local) or not local.isprintable() or not unicodedata.is_normalized("NFC", local):
        raise ValueError(f"{text!r} is no address; patterns are not read.")
    return f"{local.translate(_ASCII_LOWER)}@{_normalised_domain(domain)}"


def _normalised_domain(text: str) -> str:
    """The domain as IDNA 2008 has it, in ASCII and small letters. Raises ValueError where it is none."""
    try:
        domain = idna.encode(text.translate(_ASCII_LOWER), strict=True).decode("ascii")
    except (idna.IDNAError, UnicodeError) as error:
        raise ValueError(f"{text!r} is no domain; patterns are not read.") from error
    if domain != domain.strip(".") or "." not in domain:
        raise ValueError(f"{text!r} is no domain; patterns are not read.")
    return domain


def _exists(path: Path) -> bool:
    """Whether anything is there, be it readable or not."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True
