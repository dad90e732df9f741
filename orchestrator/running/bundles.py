"""Definitions that an executor has read: many runs have the same one."""

from collections import OrderedDict

from orchestrator.bundle import Bundle, bundle_from
from orchestrator.running.rows import ClaimedRun

KEPT_MAX = 64


class Bundles:
    """The last ones that were asked for."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Bundle] = OrderedDict()

    def of(self, claimed: ClaimedRun) -> Bundle:
        """What a run runs."""
        bundle = self._kept.get(claimed.definition_id)
        if bundle is None:
            bundle = self._kept[claimed.definition_id] = bundle_from(claimed.document)
            if len(self._kept) > KEPT_MAX:
                self._kept.popitem(last=False)
        self._kept.move_to_end(claimed.definition_id)
        return bundle
