"""What is wrong with an archive."""

from fingerprintdb.errors import FingerprintError

AGAIN = "nothing was taken in; copy or export it again"


class ArchiveError(FingerprintError):
    """A file that is no archive, is damaged, or holds what no database should take in."""

    def __init__(self, message: str, remedy: str = AGAIN) -> None:
        super().__init__(message, remedy)
