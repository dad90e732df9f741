"""What LiteLLM sees of the environment that its process was started in: who this machine is, and
how it reaches the network.

It takes keys, servers and defaults from variables where a call has none of them, and some of them
before those of the call. What a call goes with is in its deployment, so all else is taken away.
"""

import re
from collections.abc import Collection, Iterable

_KEPT = re.compile(
    r"PATH|HOME|USER|LOGNAME|LANG|LC_\w+|TZ|TMPDIR|LD_\w+|PYTHON\w+|XDG_\w+"
    r"|COMPTROLLER_\w+"
    r"|(?i:https?_proxy|all_proxy|no_proxy)|SSL_\w+|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE"
    r"|AWS_(?!BEARER_TOKEN_|BEDROCK_|ENDPOINT_URL)\w+|BOTO\w*"
    r"|GOOGLE_APPLICATION_CREDENTIALS|GOOGLE_CLOUD_\w+|GOOGLE_EXTERNAL_\w+|CLOUDSDK_\w+|GCE_\w+"
    r"|VERTEX(AI)?_(PROJECT|LOCATION|CREDENTIALS)",
    re.ASCII,
)


def superfluous(names: Iterable[str]) -> Collection[str]:
    """Those of an environment's variables that LiteLLM is not to see."""
    return [name for name in names if not _KEPT.fullmatch(name)]
