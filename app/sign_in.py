"""Sign-in for an app that is open to others: Streamlit's OpenID Connect, and a list of addresses that are let in.

Both stand in Streamlit's secrets file: `[auth]` for the provider, and `[access]` with `emails`, patterns such as
`*@example.org`. Without `[auth]` nobody is asked to sign in.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

import streamlit as st
from streamlit.errors import StreamlitAuthError

from app.widgets import layout
from app.widgets.markdown import escape, shorten


def admitted() -> bool:
    """Whether the pages may be shown; where they may not, what to do is shown in their place."""
    user = st.user.to_dict()
    if "is_logged_in" not in user:  # only there where sign-in is set up
        return True
    if not user["is_logged_in"]:
        with layout.column():
            st.markdown("This knowledge base is for those who have been let in.")
            st.button("Sign in", type="primary", icon=":material/login:", on_click=_sign_in)
        return False
    email = _email()
    if user.get("email_verified") is True and any(fnmatchcase(email, str(pattern).casefold()) for pattern in _patterns()):
        return True
    with layout.column():
        st.error(
            f"{escape(shorten(email, 100)) or 'This account'} is not let in: its address, which the provider must have checked, "
            "has to be among `emails` under `[access]` in the app's secrets file.",
            icon=":material/lock:",
        )
        st.button("Sign out", on_click=st.logout)
    return False


def show_who() -> None:
    """Says at the end of a page who is signed in, with the way out; nothing where nobody has to."""
    if not st.user.to_dict().get("is_logged_in"):
        return
    with layout.column(), st.container(horizontal=True, horizontal_alignment="right", vertical_alignment="center"):
        st.caption(f"Signed in as {escape(shorten(_email(), 100))}", width="content")
        st.button("Sign out", icon=":material/logout:", type="tertiary", on_click=st.logout)


def _sign_in() -> None:
    try:
        st.login()
    except StreamlitAuthError as error:  # a secrets file without all that it takes, or no Authlib
        st.error(f"Signing in is not set up: {escape(str(error))}", icon=":material/error:")


def _email() -> str:
    return str(st.user.to_dict().get("email") or "").casefold()


def _patterns() -> list[str]:
    return list(st.secrets.get("access", {}).get("emails", []))
