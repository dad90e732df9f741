"""The built-in provider: answers without a key, a network or chance, so that budgets can be tried.

It gets the very bytes that a provider would get and answers with the bytes that a provider would
send. The same request gets the same answer; tokens are counted by words; it obeys the output cap
and streams at a pace. It calls each of the tools that it is given once, in their order, then it
answers: an agent's loop comes to an end.
"""

from gateway.demo.upstream import DemoUpstream, wires_of

__all__ = ["DemoUpstream", "wires_of"]
