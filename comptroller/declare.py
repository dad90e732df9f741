"""Makes the ledger say what the file says: budgets and keys, at every start and reload.

What the file declares wins; what was made beside it stays. Declaring the same thing twice changes
nothing: limits keep their counters, keys their first creation.
"""

import logging

from budgets.administration import Administration, ScopeClosed
from budgets.keys import Key, KeyRing, digest
from budgets.session import Session
from comptroller.settings import DeclaredKey, Settings
from gateway.events import KeyEvents, PolicyEvent, encode

DECLARED_BY = "configuration file"
_log = logging.getLogger("comptroller.declare")


async def declare(settings: Settings, session: Session, by: str = DECLARED_BY) -> None:
    """Applies budgets, then keys; `by` stands in the events of what changes. Raises the ledger's
    errors."""
    administration = Administration(session)
    keyring = KeyRing(session, administration, KeyEvents(by))
    scopes = [scope for scope, _ in settings.budgets] + [key.scope for key in settings.keys]
    for organisation in sorted({scope.split("/", 1)[0] for scope in scopes}):
        await session.begin_organisation(organisation)
    for scope, policy in settings.budgets:
        event = encode(PolicyEvent(scope, by))
        await administration.set_policy(scope, policy, event)
    for declared in settings.keys:
        try:
            await _declare_key(declared, session, keyring)
        except ScopeClosed:
            _log.warning("key %s was revoked and stays so: give it another name", declared.name)


async def _declare_key(declared: DeclaredKey, session: Session, keyring: KeyRing) -> None:
    key_id = f"key-{declared.name}"
    organisation = declared.scope.split("/", 1)[0]
    earlier = await keyring.made_before(organisation, key_id)
    created_at_ms = earlier.created_at_ms if earlier else session.clock.now_ms()
    expires_at_ms = None
    if declared.expires_in_ms is not None:
        expires_at_ms = created_at_ms + declared.expires_in_ms
    key = Key(
        id=key_id,
        name=declared.name,
        scope=declared.scope,
        created_at_ms=created_at_ms,
        expires_at_ms=expires_at_ms,
        models=declared.models,
        endpoints=declared.endpoints,
        agent=declared.agent,
        tags=declared.tags,
        secret_sha256=digest(declared.secret),
        delegates=declared.delegates,
        subscopes=declared.subscopes,
    )
    await keyring.mint(key, declared.secret, declared.budget, replaces=earlier)
