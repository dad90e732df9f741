"""Wire formats of providers, as far as money hangs on them: one file each, and its line below."""

from translator.shapes import anthropic, cohere, converse, google, openai
from translator.shapes.contract import Document, Shape

SHAPES = (google.SHAPE, converse.SHAPE, openai.SHAPE, anthropic.SHAPE, cohere.SHAPE)


def shape_of(path: str, body: Document) -> Shape | None:
    """The wire format of a POST; None for one that is not known: it must not leave."""
    return next((each for each in SHAPES if each.recognises(path, body)), None)


__all__ = ["SHAPES", "Document", "Shape", "shape_of"]
