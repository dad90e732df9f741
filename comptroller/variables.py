"""Names of environment variables that are no settings: spelt once for the command line, which must
stay light, and for the processes that it starts."""

CONFIG_VARIABLE = "COMPTROLLER_CONFIG"
DATA_DIR_VARIABLE = "COMPTROLLER_DATA_DIR"
ADMIN_URL_VARIABLE = "COMPTROLLER_ADMIN_URL"
ADMIN_TOKEN_VARIABLE = "COMPTROLLER_ADMIN_TOKEN"  # noqa: S105  # where one is, not one
BASE_URL_VARIABLE = "COMPTROLLER_BASE_URL"
DECLARED_VARIABLE = "COMPTROLLER_DECLARED_FILE"
LOOKED_UP_VARIABLE = "COMPTROLLER_PRICES_FILE"
KEY_VARIABLE = "COMPTROLLER_KEY"

# Between the supervisor and a process of its: who started it, where they talk, and what it prints
# when it serves.
PARENT_VARIABLE = "COMPTROLLER_SUPERVISOR"
CHANNEL_VARIABLE = "COMPTROLLER_CHANNEL"  # the number of an open socket, see comptroller.channel
READY_LINE = "ready"
