"""Why a request does not leave."""


class Refused(Exception):
    """Nothing was sent, and will not be: the message is for the caller."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
