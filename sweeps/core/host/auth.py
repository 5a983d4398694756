"""The token that Ray asks for: where it lies, made for us alone. Needs only the standard library.

Who has the token can run commands as this user, and Ray itself writes it readable for everybody.
"""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

#: Bits of a mode that let anybody but the owner in.
OTHERS = 0o077
MODE_VARIABLE = "RAY_AUTH_MODE"
PATH_VARIABLE = "RAY_AUTH_TOKEN_PATH"
TOKEN_VARIABLE = "RAY_AUTH_TOKEN"


def token_file() -> Path:
    """Where Ray looks for the token of this user."""
    return Path(os.environ.get(PATH_VARIABLE) or Path.home() / ".ray" / "auth_token")


def has_token() -> bool:
    """Whether Ray would find a token, in the environment or in a file."""
    return bool(os.environ.get(TOKEN_VARIABLE)) or token_file().is_file()


def shown_token() -> str:
    """Where the token can be read, for a person."""
    if os.environ.get(TOKEN_VARIABLE):
        return f"${TOKEN_VARIABLE}"
    path = token_file()
    with suppress(ValueError):
        return f"~/{path.relative_to(Path.home())}"
    return str(path)


def ensure_token() -> str:
    """Make sure that Ray finds a token which only we can read; what was mended, '' if nothing.

    A token in the environment is left alone, and so is the file of another user.

    Raises:
        OSError: the file or its folder cannot be made.
    """
    path = token_file()
    if os.environ.get(TOKEN_VARIABLE):
        return ""
    try:
        found = path.stat()
    except FileNotFoundError:
        write_token(path)
        return ""
    if not found.st_mode & OTHERS or found.st_uid != os.geteuid():
        return ""
    path.chmod(0o600)
    return (
        f"{path} had mode {stat.S_IMODE(found.st_mode):04o} and has 0600 now; if others use this "
        "machine, delete it while no sweep runs, and the next one makes a new token"
    )


def write_token(path: Path) -> None:
    """A new random token in `path`, of mode 0600; one that is there already stays.

    Raises:
        OSError: the file or its folder cannot be made.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Linked into place whole: a second sweep that starts now must not read half a token.
    temp = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with open(fd, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32))
        with suppress(FileExistsError):
            os.link(temp, path)
    finally:
        temp.unlink(missing_ok=True)
