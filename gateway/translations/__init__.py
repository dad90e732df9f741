"""Clients and providers of different wire formats: one file a pair, and its line in the table."""

from collections.abc import Mapping
from types import MappingProxyType

from gateway.translations.chat_from_messages import ChatOnMessages
from gateway.translations.contract import StreamTranslation, Translation
from gateway.translations.dialect import TranslatedDialect
from gateway.translations.messages_from_chat import MessagesOnChat
from gateway.translations.responses_from_chat import ResponsesOnChat

TRANSLATIONS: Mapping[tuple[str, str], Translation] = MappingProxyType(
    {
        (each.endpoint, each.target): each
        for each in (ChatOnMessages(), MessagesOnChat(), ResponsesOnChat())
    }
)
"""(What the client speaks, what the provider speaks) -> what lies between."""

__all__ = ["TRANSLATIONS", "StreamTranslation", "TranslatedDialect", "Translation"]
