"""Sign-in for an app that is open to others: Streamlit's OpenID Connect, and only those that `app.access` lets in."""

from __future__ import annotations

import streamlit as st
from streamlit.errors import StreamlitAuthError

from app.access import Access
from app.widgets import layout
from app.widgets.markdown import escape, shorten


def admitted() -> bool:
    """Whether the pages may be shown; where they may not, what to do is shown in their place."""
    access = Access.current()
    if access.problem:
        with layout.column():
            st.error(
                "This app is shut: its sign-in is not set up right. Where it was started, a message says what is wrong.",
                icon=":material/lock:",
            )
        return False
    if not access.sign_in:
        return True
    user = st.user.to_dict()
    if user.get("is_logged_in") is not True:
        with layout.column():
            st.markdown("This knowledge base is for those who have been let in.")
            st.button("Sign in", type="primary", icon=":material/login:", on_click=_sign_in)
        return False
    if access.admits(user.get("email"), user.get("email_verified")):
        return True
    with layout.column():
        st.error(
            f"{escape(shorten(_email(), 100)) or 'This account'} is not let in: its address, checked by the provider, has to be "
            " among `emails`, or its domain among `domains`, under `[access]` in the app's secrets file.",
            icon=":material/lock:",
        )
        st.button("Sign out", on_click=st.logout)
    return False


def show_who() -> None:
    """Say at the end of a page who is signed in, with a button to sign out; nothing where nobody has to sign in."""
    if not Access.current().sign_in:
        return
    with layout.column(), st.container(horizontal=True, horizontal_alignment="right", vertical_alignment="center"):
        st.caption(f"Signed in as {escape(shorten(_email(), 100))}", width="content")
        st.button("Sign out", icon=":material/logout:", type="tertiary", on_click=st.logout)


def _sign_in() -> None:
    try:
        st.login()
    except StreamlitAuthError as error:  # such as Authlib missing
        st.error(f"Signing in is not set up: {escape(str(error))}", icon=":material/error:")


def _email() -> str:
    return str(st.user.to_dict().get("email") or "")
