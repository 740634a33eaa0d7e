"""The URL of a database and its password.

A run directory is copied and given away, so it has the URL without the password. A command that
opens the database takes the password from its call, from the environment variable
PHINAS_STORAGE_PASSWORD, or, for PostgreSQL, from `~/.pgpass`.
"""

import os
import re
from urllib.parse import unquote, unquote_plus

ENVIRONMENT_VARIABLE = "PHINAS_STORAGE_PASSWORD"

# A password may have any characters, although a URL should have them percent-encoded. So it ends at
# the last @, unless a port and a slash say that the URL has no user.
_USER_PASSWORD = re.compile(r"(://[^/?#@:\s]*:)(?!\d*/[^@]*$)(?!\d+/[^@]*\?)(.*)@", re.DOTALL)
# By URL without password. A report reads the URL from the run directory of its own process.
_used_passwords: dict[str, str] = {}
_QUERY_PASSWORD = re.compile(r"(?<=[?&])(password|passwd)=([^&]*)&?", re.IGNORECASE)


def split_password(url: str) -> tuple[str, str | None]:
    """The URL of a database without its password, and the password. None if it has none."""
    password = None
    if match := _QUERY_PASSWORD.search(url):
        password = unquote_plus(match[2])
        url = _QUERY_PASSWORD.sub("", url).rstrip("?&")
    if match := _USER_PASSWORD.search(url):
        password = unquote(match[2])
        url = f"{url[: match.start()]}{match[1].removesuffix(':')}@{url[match.end() :]}"
    return url, password


def hide_passwords(text: str) -> str:
    """A text, such as an argument of a command, with *** in place of the password of a URL."""
    if "://" not in text:
        return text
    return _USER_PASSWORD.sub(r"\1***@", _QUERY_PASSWORD.sub(_hide_value, text))


def _hide_value(match: re.Match[str]) -> str:
    return f"{match[1]}=***{'&' if match[0].endswith('&') else ''}"


def connection_url(url: str) -> str:
    """The URL with which to connect. Its password is its own, or that of an earlier call of this
    process with the same URL, or that of the environment.

    Raises:
        sqlalchemy.exc.ArgumentError: It is not the URL of a database.
    """
    # Inside, because other commands read manifests without a database.
    from sqlalchemy import make_url

    address, password = split_password(url)
    if password is None:
        password = _used_passwords.get(address, os.environ.get(ENVIRONMENT_VARIABLE))
    else:
        _used_passwords[address] = password
    parsed = make_url(address)
    if password and parsed.username:
        parsed = parsed.set(password=password)
    elif password:  # the user is in the query, too
        parsed = parsed.update_query_dict({"password": password})
    return parsed.render_as_string(hide_password=False)
