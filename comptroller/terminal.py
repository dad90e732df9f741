"""Whether this process still has the terminal that it was started in: SIGHUP says "read your file
again" as well as "your terminal is gone"."""

import os


def has_terminal() -> bool:
    """Whether there is a terminal that controls this process."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
