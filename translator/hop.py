"""The private hop between gateway and translator: OpenAI's chat completions, and what is beside."""

TARGET = b"/v1/chat/completions"
DEPLOYMENT_HEADER = b"x-comptroller-deployment"
"""In a request: which entry of model_list it is for."""
NOT_REACHED_HEADER = b"x-comptroller-not-reached"
"""In an answer: provably nothing was sent to the provider, because it could not be reached."""
SOCKET_NAME = "translator.sock"
"""In the data dir."""
