"""Settings out of files, where no list of processes or of the environment shows a password."""

import os
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import PydanticBaseSettingsSource

from fingerprintdb.errors import FingerprintError

SECRETS_DIR = Path("/run/secrets")
"""Where Docker and its like put secrets, a file each."""


class SecretFileError(FingerprintError):
    """A secret file that cannot be read, or should not be there."""


class SecretFiles(PydanticBaseSettingsSource):
    """Reads FPDB_<FIELD> from the file that FPDB_<FIELD>_FILE names, else SECRETS_DIR/fpdb_<field>.

    Raises SecretFileError where a file is named that cannot be read.
    """

    def __call__(self) -> dict[str, Any]:
        """Return what the files say, by field."""
        found = {}
        for name, field in self.settings_cls.model_fields.items():
            value, key, _ = self.get_field_value(field, name)
            if value is not None:
                found[key] = value
        return found

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return the text of a field's file, None where there is none; the field; and False."""
        del field
        variable = f"FPDB_{field_name.upper()}"
        named = os.environ.get(f"{variable}_FILE")
        if named and os.environ.get(variable):
            raise SecretFileError(f"{variable} and {variable}_FILE are both set", "unset one")
        path = Path(named) if named else SECRETS_DIR / variable.lower()
        if not named and not path.is_file():
            return None, field_name, False
        try:
            text = path.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
            raise SecretFileError(
                f"{variable}: the secret file {path} cannot be read: {reason}",
                "put the value there, readable for this user, or set it otherwise",
            ) from None
        if not text:
            raise SecretFileError(
                f"{variable}: the secret file {path} is empty", "put the value there"
            )
        return text, field_name, False
