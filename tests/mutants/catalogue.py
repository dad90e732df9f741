"""All mutants: texts of files that are replaced by others. Every one must turn tests red.

The texts of `tests/simulation/mutations.py` are here too, by reference: the simulation finds them,
and so must the tests that are quicker to read.
"""

from pathlib import Path

from tests.mutants.around import RECORDER, WORKER
from tests.mutants.charges import CHARGES
from tests.mutants.mutant import LUA, RECORDS, RESERVES, SETTLES, Mutant
from tests.mutants.quotes import QUOTES
from tests.mutants.routes import ROUTES
from tests.mutants.routing import ROUTING
from tests.mutants.runs import RUNS
from tests.mutants.scripts import DECIDING, ENDING, RECORDING
from tests.mutants.text_inputs import TEXT_INPUTS
from tests.simulation.mutations import IN_SCRIPTS, InScript

ROOT = Path(__file__).parents[2]
_LIKELY = {"confirm": RECORDS, "settle": SETTLES, "sweep": SETTLES, "extend": SETTLES}
_NAMED = {"the name of a request is ignored": ("tests/budgets/test_marks.py",)}


def _file_of(each: InScript) -> str:
    """The only file with the text of a mutant of the simulation."""
    files = sorted((ROOT / LUA).rglob("*.lua"))
    of_scripts = {f"{name}.lua" for name in each.scripts}
    found = [file for file in files if each.old in file.read_text(encoding="utf-8")]
    named = [file for file in found if file.name in of_scripts] or found
    return str(named[0].relative_to(ROOT)) if named else f"{LUA}/nowhere.lua"


def _simulated() -> tuple[Mutant, ...]:
    return tuple(
        Mutant(
            name,
            _file_of(each),
            each.old,
            each.new,
            _NAMED.get(name)
            or next((_LIKELY[script] for script in each.scripts if script in _LIKELY), RESERVES),
        )
        for name, each in IN_SCRIPTS.items()
    )


MUTANTS = (
    *_simulated(),
    *DECIDING,
    *ENDING,
    *RECORDING,
    *RECORDER,
    *WORKER,
    *QUOTES,
    *ROUTES,
    *CHARGES,
    *ROUTING,
    *RUNS,
    *TEXT_INPUTS,
)


def missing(mutant: Mutant) -> str:
    """Why it cannot be made; empty where it can."""
    file = ROOT / mutant.file
    count = file.read_text(encoding="utf-8").count(mutant.old) if file.exists() else 0
    return "" if count == 1 else f"{mutant.file} has its text {count} times"
