"""The life of attempts' keys as events: see budgets.keys.KeyEvents. Never a secret."""

from budgets.keys import Key
from orchestrator.events import BY, RunEvent, bounded, encode


class AttemptKeyEvents:
    """Of keys that were minted for an attempt; the orchestrator does it."""

    def minted(self, key: Key) -> bytes:
        """`key_minted`."""
        return _of(key, key.scope, "mint")

    def budget_changed(self, key: Key) -> bytes:
        """`budget_changed` of its own scope."""
        return _of(key, key.key_scope, "mint")

    def revoked(self, key: Key) -> bytes:
        """`key_revoked`."""
        return _of(key, key.scope, "revoke")


def _of(key: Key, scope: str, action: str) -> bytes:
    work = key.work
    assert work is not None
    return encode(
        RunEvent(
            workflow=work.workflow,
            workflow_version=work.workflow_version,
            run_id=work.run_id,
            correlation_id=work.run_id,
            scope=scope,
            step_id=work.step_id,
            attempt=work.attempt,
            agent=key.agent,
            key_id=key.id,
            by=BY,
            detail=bounded({"action": action}),
        )
    )
