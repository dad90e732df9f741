"""What models cost, from lists that others keep, checked against each other. See docs/prices.md.

The only part of `pricing` that reads: data files of installed packages, when they are first needed.
"""

from pricing.catalog.catalog import Catalog, Entry, ModelUnknown
from pricing.catalog.info import quoted
from pricing.catalog.litellm_map import INSTALL as INSTALL_SECOND_OPINION
from pricing.catalog.merging import DEARER, Disagreement
from pricing.catalog.providers import OWN_SERVERS, provider_named, provider_of_host

__all__ = [
    "DEARER",
    "INSTALL_SECOND_OPINION",
    "OWN_SERVERS",
    "Catalog",
    "Disagreement",
    "Entry",
    "ModelUnknown",
    "provider_named",
    "provider_of_host",
    "quoted",
]
