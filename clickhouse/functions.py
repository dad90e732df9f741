"""Which of the engine's two thousand functions a reader may call: those of known categories.

Deny by default: what a newer engine adds in a category that is not here (AI, dictionaries, files)
is refused until someone has looked at it.
"""

import json
from collections.abc import Mapping

from clickhouse.engine import Engine

_CATEGORIES = frozenset(
    {
        *("Arithmetic", "Arrays", "Bit", "Bitmap", "Comparison", "Conditional", "Dates and Times"),
        *("Distance", "Encoding", "Hash", "IP Address", "JSON", "Logical", "Map", "Mathematical"),
        *("Null", "Nullable", "Random Number", "Rounding", "String", "String Replacement"),
        *("String Search", "String Splitting", "Time Window", "Tuple", "Type Conversion", "URL"),
        "UUID",
    }
)
# From the category that holds everything else, files and sleeping included.
_ALSO = frozenset(
    {
        *(
            "bar",
            "bytesize",
            "countdigits",
            "currentdatabase",
            "currentuser",
            "defaultvalueoftypename",
        ),
        *(
            "displayname",
            "finalizeaggregation",
            "formatreadabledecimalsize",
            "formatreadablequantity",
        ),
        *(
            "formatreadablesize",
            "formatreadabletimedelta",
            "identity",
            "ignore",
            "initializeaggregation",
        ),
        *("isconstant", "isdecimaloverflow", "lowcardinalityindices", "lowcardinalitykeys"),
        *("materialize", "normalizedqueryhash", "normalizequery", "parsereadablesize"),
        *("parsetimedelta", "revision", "rownumberinallblocks", "rownumberinblock"),
        *("runningaccumulate", "runningdifference", "tocolumntypename", "totypename", "transform"),
        *("varianttype", "variantelement", "version", "visiblewidth"),
        # Not functions to the engine, or of the category `Internal`, but so the parser writes them.
        *("_cast", "casewithexpression", "casewithoutexpression", "exists", "grouping", "lambda"),
    }
)
# In a category above, but not for a reader: they read schema files, keep state or raise at will.
_NEVER = frozenset({"chdb", "formatrow", "formatrownonewline", "generateserialid", "aggthrow"})
TABLE_FUNCTIONS = frozenset(
    {"numbers", "zeros", "generateseries", "generate_series", "values", "sqlstandardvalues"}
)
_STATEMENT = """
SELECT lower(name), lower(alias_to), categories, is_aggregate
FROM system.functions WHERE origin = 'System'
"""
_COMBINATORS = "SELECT lower(name) FROM system.aggregate_function_combinators WHERE NOT is_internal"


class Functions:
    """Names that may stand before a bracket; upper and lower case are the same, so that no
    spelling of a refused name passes."""

    def __init__(self, engine: Engine) -> None:
        aliases: dict[str, str] = {}
        categories: dict[str, str] = {}
        aggregates = set()
        for line in engine.select(_STATEMENT).splitlines():
            name, alias_of, category, is_aggregate = json.loads(line)
            categories[name] = category or categories.get(name, "")  # timezone, timeZone
            if alias_of:
                aliases[name] = alias_of
            if is_aggregate:
                aggregates.add(name)
        self._aggregates = aggregates - _NEVER
        allowed = {name for name in categories if _of_category(name, aliases, categories)}
        self._allowed = (allowed | self._aggregates | _ALSO) - _NEVER
        combinators = (json.loads(line)[0] for line in engine.select(_COMBINATORS).splitlines())
        self._combinators = tuple(sorted(combinators, key=len, reverse=True))

    def __contains__(self, name: str) -> bool:
        """Whether a reader may call it."""
        lower = name.lower()
        return lower in self._allowed or self._is_combination(lower)

    def _is_combination(self, name: str) -> bool:
        """`sumIf`, `quantilesTimingArrayIf`: an aggregate with combinators behind it."""
        return name in self._aggregates or any(
            name.endswith(suffix) and self._is_combination(name[: -len(suffix)])
            for suffix in self._combinators
        )


def _of_category(name: str, aliases: Mapping[str, str], categories: Mapping[str, str]) -> bool:
    real = aliases.get(name, name)
    return real not in _NEVER and categories.get(real, "") in _CATEGORIES
