"""What the command's exit codes mean."""

FAILED = 1
USAGE_ERROR = 2
REFUSED_BY_BUDGET = 3
NOT_VERIFIED = 4
RUN_HALTED = 4
RUN_CANCELLED = 5
