"""The one way this program fails: what went wrong, and what to do about it."""


class EngineError(Exception):
    """Shown as two lines, never as a traceback; exit code 3."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
