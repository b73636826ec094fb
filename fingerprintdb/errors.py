"""The error that a person sees: what happened, and what to do next."""


class FingerprintError(Exception):
    """An expected failure with a remedy; every stage raises its own subclass.

    `message` says what happened in one line, `remedy` what to do about it (may be empty).
    `transient` is true where trying again later may succeed, so that a worker retries the job.
    """

    transient = False

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        """Return the message, with the remedy after a dash where there is one."""
        return f"{self.message} — {self.remedy}" if self.remedy else self.message
