"""What a run has seen: faults by kind, rare paths, answers; and what it should have seen."""

from collections import Counter

# A run of some minutes that has not seen one of these does not test what it says it tests.
RARE_PATHS = (
    *("rare:held, then granted", "rare:clamped", "rare:late truth", "rare:expired"),
    *("rare:overrun", "rare:granted again under its id", "rare:reserve met its release"),
    *("rare:cut, FROZEN", "rare:cut, CLOSED", "rare:cut, FENCED", "rare:cut, EXPIRED"),
    *("rare:cut, BEYOND_GRANT", "rare:cut, client gone", "rare:executed without a connection"),
    *("rare:billed beyond what was read", "answer:reserve FENCED"),
    *("rare:confirmed from a spool", "rare:takeover of an organisation", "rare:compacted"),
    *("rare:block dropped by its token", "rare:worker drained", "rare:recorder stopped in order"),
    *("rare:booked as provider", "rare:booked as counted", "rare:booked as reserved"),
    *("rare:booked as none", "rare:booked as released"),
    *("answer:reserve STALE", "answer:reserve WINDOW", "answer:reserve HELD"),
    *("answer:reserve EXHAUSTED", "answer:reserve TOO_LARGE", "answer:reserve FROZEN"),
    *("answer:reserve CLOSED", "answer:reserve BACKLOG", "answer:reserve RECOVERING"),
    *("answer:settle CORRECTED", "answer:settle ALREADY", "answer:release ALREADY"),
    *("answer:fix LOST", "answer:own OTHER", "answer:set ALREADY", "answer:append ALREADY"),
    *("answer:reserve REPEATED", "rare:answered again, for nothing"),
    "rare:died with an ending on the disk",
    *("rare:recovered", "rare:lost in a recovery", "rare:brought by its worker"),
    *("rare:lost with its worker", "fault:restart the ledger", "fault:empty the ledger"),
    "fault:put the ledger back",
)


def report(tally: Counter[str], steps: int, episodes: int, seconds: float) -> str:
    """For people."""
    rate = steps / seconds if seconds else 0
    lines = [f"{steps} steps in {episodes} episodes, {rate:.0f} steps/s"]
    for group in ("fault", "rare", "answer", "provider", "status", "alarm", "client"):
        found = sorted((name, n) for name, n in tally.items() if name.startswith(f"{group}:") and n)
        if found:
            lines.append(f"{group}:")
            lines += [f"  {n:8} {name.partition(':')[2]}" for name, n in found]
    missing = unseen(tally)
    lines.append(f"rare paths not seen: {', '.join(missing) or 'none'}")
    return "\n".join(lines) + "\n"


def unseen(tally: Counter[str]) -> list[str]:
    """Rare paths that did not happen."""
    return [name for name in RARE_PATHS if not tally[name]]
