"""Clients and providers of different wire formats: one file a pair, and its line in the table."""

from collections.abc import Mapping
from types import MappingProxyType

from gateway.dialects import CHAT
from gateway.translations.chained import Chained
from gateway.translations.chat_from_messages import ChatOnMessages
from gateway.translations.contract import StreamTranslation, Translation
from gateway.translations.dialect import TranslatedDialect
from gateway.translations.messages_from_chat import MessagesOnChat
from gateway.translations.responses_from_chat import ResponsesOnChat
from gateway.translations.responses_to_chat import INSTEAD, NAMES

_CHAT_ON_MESSAGES, _RESPONSES_ON_CHAT = ChatOnMessages(), ResponsesOnChat()
_ALL: tuple[Translation, ...] = (
    _CHAT_ON_MESSAGES,
    MessagesOnChat(),
    _RESPONSES_ON_CHAT,
    Chained(_RESPONSES_ON_CHAT, CHAT, _CHAT_ON_MESSAGES, NAMES, INSTEAD),
)
TRANSLATIONS: Mapping[tuple[str, str], Translation] = MappingProxyType(
    {(each.endpoint, each.target): each for each in _ALL}
)
"""(What the client speaks, what the provider speaks) -> what lies between."""

__all__ = ["TRANSLATIONS", "StreamTranslation", "TranslatedDialect", "Translation"]
