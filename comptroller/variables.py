"""Names of environment variables that are no settings: spelt once for the command line, which must
stay light, and for the processes that it starts."""

CONFIG_VARIABLE = "COMPTROLLER_CONFIG"
DATA_DIR_VARIABLE = "COMPTROLLER_DATA_DIR"
ADMIN_URL_VARIABLE = "COMPTROLLER_ADMIN_URL"
ADMIN_TOKEN_VARIABLE = "COMPTROLLER_ADMIN_TOKEN"  # noqa: S105  # where one is, not one
BASE_URL_VARIABLE = "COMPTROLLER_BASE_URL"
DECLARED_VARIABLE = "COMPTROLLER_DECLARED_FILE"
KEY_VARIABLE = "COMPTROLLER_KEY"
