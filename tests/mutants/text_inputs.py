"""Ways to break what embeddings and legacy completions are reserved at."""

from tests.mutants.mutant import Mutant

_EMBEDDINGS = ("tests/gateway/dialects/test_embeddings.py", "tests/gateway/test_embeddings.py")
_COMPLETIONS = ("tests/gateway/dialects/test_completions.py", "tests/gateway/test_completions.py")
_INPUTS = ("tests/gateway/dialects/test_text_inputs.py",)

TEXT_INPUTS = (
    Mutant(
        "one window bounds all that is embedded",
        "gateway/dialects/embeddings.py",
        "            input_windows=0,\n",
        "",
        _EMBEDDINGS,
    ),
    Mutant(
        "what may bring more to embed is forwarded",
        "gateway/dialects/embeddings.py",
        "        _refuse_unknown(fields)\n",
        "",
        _EMBEDDINGS,
    ),
    Mutant(
        "answers that are made and not returned cost nothing",
        "gateway/dialects/completions.py",
        '    return max(whole_number(fields, "n", 1, chat.N_MAX) or 1, best_of)\n',
        '    return whole_number(fields, "n", 1, chat.N_MAX) or 1\n',
        _COMPLETIONS,
    ),
    Mutant(
        "a batch of prompts makes one answer",
        "gateway/dialects/completions.py",
        "candidates = prompts.inputs * _choices(fields)",
        "candidates = _choices(fields)",
        _COMPLETIONS,
    ),
    Mutant(
        "an echo is output beyond the grant",
        "gateway/dialects/completions.py",
        "events_beside=tokens_max * candidates if echoes else 0",
        "events_beside=0",
        _COMPLETIONS,
    ),
    Mutant(
        "of many lists of tokens one counts",
        "gateway/dialects/text_inputs.py",
        "ids = sum(len(each) for each in value if isinstance(each, list))",
        "ids = max(len(each) for each in value if isinstance(each, list))",
        _INPUTS,
    ),
)
