"""Where the requests of a deployment may go: at which servers its key, and what callers wrote, may
be seen."""

import httpx

from translator.deployment import Deployment


def origin_of(url: httpx.URL) -> str:
    """As `https://host:8443`: in lower case, without the port that its scheme has anyway."""
    return f"{url.scheme}://{url.netloc.decode('ascii')}"


def named_origins(deployment: Deployment) -> frozenset[str]:
    """Those of the servers that its entry names; empty where LiteLLM knows the server."""
    names = ["api_base"]
    if deployment.provider.startswith("bedrock"):  # which LiteLLM puts before api_base
        names.append("aws_bedrock_runtime_endpoint")
    urls = [deployment.params[name] for name in names if name in deployment.params]
    return frozenset(_origin(each) for each in urls)


def _origin(text: str) -> str:
    """Of what is no URL to httpx, one that no request has: LiteLLM will send nothing there."""
    try:
        return origin_of(httpx.URL(text))
    except httpx.InvalidURL:
        return ""
