"""Reads the address, the model and the key of an endpoint from the environment.

`LCT_CHAT_URL` is a base URL such as http://localhost:8000/v1, `LCT_CHAT_MODEL` a name that the endpoint knows, and
`LCT_CHAT_KEY` the key that is sent as a bearer token. White space at the ends of all three is left out, because a key
that is read from a file ends in a line break. The key, and a password inside the URL, never become part of a text.
"""

from __future__ import annotations

import base64
import os
import re
from dataclasses import dataclass, field
from urllib.parse import quote

import httpx2

from lct_jax.errors import InputError

# A key shorter than this, such as "none", is hidden only where it stands as a word.
_SHORT = 8


class Secret:
    """A text that is hidden wherever it is shown: `str`, `repr` and `format` give three stars."""

    def __init__(self, value: str = "") -> None:
        self._value = value

    def reveal(self) -> str:
        """Returns the text itself, which only an HTTP header may hold."""
        return self._value

    def hide_in(self, text: str) -> str:
        """Returns a text in which every spelling of the secret is replaced by three stars."""
        if not self._value:
            return text
        encoded = base64.b64encode(self._value.encode()).decode()
        escaped = self._value.encode("unicode_escape").decode()
        for spelling in {self._value, escaped, quote(self._value, safe=""), encoded}:
            found = re.escape(spelling)
            if len(spelling) < _SHORT:
                found = rf"(?<!\w){found}(?!\w)"
            text = re.sub(found, "***", text)
        return text

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return "***" if self._value else "''"


@dataclass(frozen=True)
class Endpoint:
    """Names an endpoint.

    Attributes:
        url: base URL without user, password and query; it may be shown. model: a name the endpoint knows.
        key: the bearer token; empty for an endpoint that needs none.
        user, password: are for basic authentication, used where there is no key. query: the query of the URL, such as
            `api-version=...`; it may hold a key and is not shown either.
    """

    url: str
    model: str
    key: Secret = field(default_factory=Secret)
    user: str = field(default="", repr=False)
    password: Secret = field(default_factory=Secret)
    query: Secret = field(default_factory=Secret)

    def hide_secrets_in(self, text: str) -> str:
        """Returns a text without the key, the password and the query of the URL."""
        for secret in (self.key, self.password, self.query):
            text = secret.hide_in(text)
        for part in self.query.reveal().split("&"):
            text = Secret(part.partition("=")[2]).hide_in(text)
        return text


def make_endpoint(url: str, model: str, key: str = "") -> Endpoint:
    """Returns the endpoint of three texts, checked.

    Raises:
        InputError: a text is missing or wrong; the message names its variable of the environment, and never a secret.
    """
    url, model, key = url.strip(), model.strip(), key.strip()
    for name, value in (("URL", url), ("MODEL", model)):
        if not value:
            raise InputError(f"LCT_CHAT_{name}: not set in the environment")
    _check_key(key)
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL:
        # The library's message may quote a password.
        raise InputError(
            "LCT_CHAT_URL: is no URL, expected one such as http://localhost:8000/v1"
        ) from None
    shown = str(parsed.copy_with(username=None, password=None, query=None, fragment=None))
    if parsed.scheme not in ("http", "https") or not parsed.host:
        # Without the two slashes, user and password would be part of the path.
        found = f"{parsed.scheme}:" if "@" in shown else shown
        raise InputError(f"LCT_CHAT_URL: found {found!r}, expected http:// or https://")
    return Endpoint(
        url=shown.rstrip("/").removesuffix("/chat/completions"),
        model=model,
        key=Secret(key),
        user=parsed.username,
        password=Secret(parsed.password),
        query=Secret(parsed.query.decode()),
    )


def endpoint_from_environment() -> Endpoint:
    """Returns the endpoint that the environment names; raises InputError naming a variable that is missing or wrong."""
    names = ("URL", "MODEL", "KEY")
    return make_endpoint(*(os.environ.get(f"LCT_CHAT_{name}", "") for name in names))


def _check_key(key: str) -> None:
    """Refuses a key that no header can hold; the message gives the place of the character, never the key."""
    for place, character in enumerate(key, start=1):
        if not "!" <= character <= "~":
            raise InputError(
                f"LCT_CHAT_KEY: character {place} of {len(key)} is U+{ord(character):04X}, expected the key alone:"
                " visible ASCII characters, no space and no line break"
            )
    if key[:1] in ("'", '"') and key[-1:] == key[:1]:
        raise InputError("LCT_CHAT_KEY: stands in quotes, expected the key alone")
