"""A secret as the settings have it: said in a variable, or in a file that a variable names."""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr

from rag.errors import InvalidRequest


class BadSecret(InvalidRequest):
    """A secret that is said twice, or whose file has none."""

    default_code = "bad_secret"


def secret_of(variable: str, plain: SecretStr, file: str) -> str | None:
    """Return the secret of the setting `variable`, or of the file that its twin with `_FILE` names.

    None where neither is set. Raises BadSecret for both, and for a file that can't be read or is empty.
    """
    said = plain.get_secret_value()
    if not file:
        return said or None
    if said:
        raise BadSecret(f"both {variable} and {variable}_FILE are set")
    path = Path(file).expanduser()
    try:
        secret = path.read_text("utf-8").strip()
    except (OSError, UnicodeError) as error:
        raise BadSecret(f"{variable}_FILE is {str(path)!r}, which can't be read ({error})") from error
    if not secret:
        raise BadSecret(f"{variable}_FILE {str(path)!r} is empty")
    return secret
