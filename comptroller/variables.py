"""Names of environment variables that are no settings: spelt once for the command line, which must
stay light, and for the processes that it starts."""

CONFIG_VARIABLE = "COMPTROLLER_CONFIG"
ADMIN_TOKEN_VARIABLE = "COMPTROLLER_ADMIN_TOKEN"  # noqa: S105  # where one is, not one
