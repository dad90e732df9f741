"""Requests to providers whose wire formats only LiteLLM knows, in a process of their own.

LiteLLM is a translator here and nothing else. What it makes of a request is looked at before it
leaves (`passage`, `gate`), what was used is read from the provider's own bytes (`answers`,
`shapes`), and what it says about money is not listened to.
"""
