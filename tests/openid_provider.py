"""A local OpenID Connect provider: discovery, authorization code with PKCE, signed id_tokens, keys, logout; lying on demand.

What it speaks is OpenID Connect Core 1.0 (3.1, the code flow), Discovery 1.0 and RP-Initiated Logout 1.0. It refuses what these
tell a provider to refuse, so that a client that passes has kept to them too.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote_plus, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT_ID, CLIENT_SECRET = "paper-kb", "a secret: 100 % ours"
#: What it can get wrong in an id_token.
FAULTS = ("signature", "unsigned", "audience", "issuer", "nonce", "expired")
_TOKEN_LASTS = 300  # seconds


class _Refused(Exception):
    """An answer of the protocol's own that says what the client did wrong; with the HTTP status."""

    def __init__(self, error: str, status: int = 400) -> None:
        super().__init__(error)
        self.error = error
        self.status = status


@dataclass(frozen=True)
class _Grant:
    """What a code was given for."""

    redirect_uri: str
    nonce: str
    challenge: str


@dataclass
class Provider:
    """The provider's state, which a test sets and reads."""

    issuer: str
    redirect_uri: str = ""
    """The one that is registered."""
    claims: dict[str, Any] = field(default_factory=lambda: {"email": "ada@lab.example.org", "email_verified": True})
    """What the next id_token says of the person."""
    fault: str = ""
    served: list[str] = field(default_factory=list)
    """Paths in the order in which they were asked for."""
    signed_out: int = 0
    _key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "of the provider"}))
    _foreign_key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "of the provider"}))
    _grants: dict[str, _Grant] = field(default_factory=dict)

    def metadata(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "end_session_endpoint": f"{self.issuer}/logout",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic"],
            "code_challenge_methods_supported": ["S256"],
            "scopes_supported": ["openid", "email", "profile"],
        }

    def keys(self) -> dict[str, Any]:
        return {"keys": [self._key.as_dict(private=False, use="sig", alg="RS256")]}

    def check_request(self, asked: dict[str, str]) -> None:
        """A request for authorization, as it comes from the browser."""
        expected = {
            "client_id": CLIENT_ID,
            "redirect_uri": self.redirect_uri,
            "response_type": "code",
            "code_challenge_method": "S256",
        }
        wrong = [name for name, value in expected.items() if asked.get(name) != value]
        wrong += [name for name in ("state", "nonce", "code_challenge") if len(asked.get(name, "")) < 20]
        if wrong or "openid" not in asked.get("scope", "").split():
            raise _Refused(f"invalid_request: {wrong or 'scope'}")

    def grant(self, asked: dict[str, str]) -> str:
        """The address that the browser is sent back to, with a code."""
        code = secrets.token_urlsafe(24)
        self._grants[code] = _Grant(asked["redirect_uri"], asked["nonce"], asked["code_challenge"])
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    def tokens(self, asked: dict[str, str], authorization: str) -> dict[str, Any]:
        """Tokens for a code, which counts once."""
        scheme, _, credentials = authorization.partition(" ")
        name, _, secret = base64.b64decode(credentials).decode().partition(":")
        if scheme != "Basic" or (unquote_plus(name), unquote_plus(secret)) != (CLIENT_ID, CLIENT_SECRET):
            raise _Refused("invalid_client", 401)
        if asked.get("grant_type") != "authorization_code":
            raise _Refused("unsupported_grant_type")
        grant = self._grants.pop(asked.get("code", ""), None)
        digest = hashlib.sha256(asked.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if grant is None or (asked.get("redirect_uri"), challenge) != (grant.redirect_uri, grant.challenge):
            raise _Refused("invalid_grant")
        token = self._id_token(grant.nonce)
        return {"access_token": secrets.token_urlsafe(24), "token_type": "Bearer", "expires_in": _TOKEN_LASTS, "id_token": token}

    def _id_token(self, nonce: str) -> str:
        now = int(time.time())
        lie = dict.fromkeys(FAULTS, False) | {self.fault: True}
        claims = {
            "iss": "https://elsewhere.example" if lie["issuer"] else self.issuer,
            "sub": "248289761001",
            "aud": "another-client" if lie["audience"] else CLIENT_ID,
            "nonce": "of another sign-in" if lie["nonce"] else nonce,
            "iat": now - 7200 * lie["expired"],
            "exp": now + _TOKEN_LASTS - 7200 * lie["expired"],
        }
        header = {"alg": "RS256", "kid": "of the provider"}
        token = jwt.encode(header, claims | self.claims, self._foreign_key if lie["signature"] else self._key)
        if lie["unsigned"]:
            _, body, _ = token.split(".")
            token = f"{base64.urlsafe_b64encode(json.dumps({'alg': 'none'}).encode()).decode().rstrip('=')}.{body}."
        return token

    def sign_out(self, asked: dict[str, str]) -> str:
        """The address that the browser is sent back to after signing out here."""
        jwt.decode(asked.get("id_token_hint", ""), self._key, algorithms=["RS256"])
        if asked.get("post_logout_redirect_uri") != self.redirect_uri:
            raise _Refused("invalid_request: post_logout_redirect_uri")
        self.signed_out += 1
        return self.redirect_uri


@contextmanager
def provider() -> Iterator[Provider]:
    """A provider that listens on this machine for as long as the block runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.provider = Provider(f"http://localhost:{server.server_address[1]}")  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.provider  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # the body is not to wait until the client has confirmed the head

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        asked = dict(parse_qsl(parts.query))
        provider = self._provider(parts.path)
        try:
            match parts.path:
                case "/.well-known/openid-configuration":
                    self._json(provider.metadata())
                case "/keys":
                    self._json(provider.keys())
                case "/authorize":
                    provider.check_request(asked)
                    self._consent(asked)
                case "/logout":
                    self._redirect(provider.sign_out(asked))
                case _:
                    raise _Refused("not_found", 404)
        except _Refused as refused:
            self._json({"error": refused.error}, refused.status)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        asked = {name: values[0] for name, values in parse_qs(body).items()}
        path = urlsplit(self.path).path
        provider = self._provider(path)
        try:
            match path:
                case "/token":
                    self._json(provider.tokens(asked, self.headers.get("Authorization", "")))
                case "/authorize" if asked.pop("answer", "") == "Cancel":
                    self._redirect(f"{asked['redirect_uri']}?{urlencode({'error': 'access_denied', 'state': asked['state']})}")
                case "/authorize":
                    provider.check_request(asked)
                    self._redirect(provider.grant(asked))
                case _:
                    raise _Refused("not_found", 404)
        except _Refused as refused:
            self._json({"error": refused.error}, refused.status)

    def _provider(self, path: str) -> Provider:
        found: Provider = self.server.provider  # type: ignore[attr-defined]
        found.served.append(path)
        return found

    def _consent(self, asked: dict[str, str]) -> None:
        """The page on which the person signs in."""
        hidden = "".join(f'<input type="hidden" name="{escape(n)}" value="{escape(v)}">' for n, v in asked.items())
        buttons = "".join(f'<button name="answer" value="{answer}">{answer}</button>' for answer in ("Continue", "Cancel"))
        page = f'<!doctype html><title>Provider</title><form method="post" action="/authorize">{hidden}{buttons}</form>'
        self._send(200, "text/html; charset=utf-8", page.encode())

    def _json(self, value: dict[str, Any], status: int = 200) -> None:
        self._send(status, "application/json", json.dumps(value).encode())

    def _redirect(self, location: str) -> None:
        self._send(302, "text/plain", b"", Location=location)

    def _send(self, status: int, kind: str, body: bytes, **headers: str) -> None:
        self.send_response(status)
        facts = {"Content-Type": kind, "Content-Length": str(len(body)), "Cache-Control": "no-store"}
        for name, value in (facts | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: the tests read `Provider.served`."""
