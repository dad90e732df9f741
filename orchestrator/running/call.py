"""`python call.py package.module:function`: calls it with the JSON object in the file of
COMPTROLLER_INPUT as arguments by name, and writes what it returns to that of COMPTROLLER_OUTPUT.

It runs in the workflow's folder, which modules are imported from, in a process that is the user's:
so it imports nothing of ours, and as little as it can (20 ms are saved). It exits with 1 where the
call fails, and the last line that it prints then says what, and where.
"""

import json
import os
import sys

EXIT_FAILED = 1


def main(named: str) -> int:
    """The exit code."""
    sys.path[0] = os.getcwd()  # else it is the folder of this file
    try:
        with open(os.environ["COMPTROLLER_INPUT"], encoding="utf-8") as file:
            given = json.load(file)
        output = _as_json(named, _called(named, given))
    except BaseException as error:  # noqa: BLE001  # also SystemExit: it has returned nothing
        _explain(error)
        return EXIT_FAILED
    with open(os.environ["COMPTROLLER_OUTPUT"], "w", encoding="utf-8") as file:
        file.write(output)
    return 0


def _called(named: str, given: dict[str, object]) -> object:
    module_name, _, function_name = named.partition(":")
    __import__(module_name)
    function = getattr(sys.modules[module_name], function_name)
    returned = function(**given)
    if not hasattr(returned, "__await__"):
        return returned
    import asyncio  # noqa: PLC0415  # most functions do not need it

    async def awaited() -> object:
        return await returned

    return asyncio.run(awaited())


def _as_json(named: str, returned: object) -> str:
    try:
        return json.dumps(returned, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise TypeError(f"what {named} returned is no JSON: {error}") from None


def _explain(error: BaseException) -> None:
    import traceback  # noqa: PLC0415  # most functions do not fail

    every = traceback.extract_tb(error.__traceback__)
    frames = [each for each in every if each.filename != __file__]
    said = traceback.format_exception_only(error)[-1].strip()
    last = frames[-1] if frames else None
    where = f" ({last.filename}:{last.lineno}, in {last.name})" if last else ""
    sys.stderr.write("".join(traceback.format_list(frames)))
    sys.stderr.write(f"{said}{where}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
