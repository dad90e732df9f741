"""`python -m tests.chaos --seconds S --seed N`: one run, its report, and 1 where it failed."""

import argparse
import asyncio
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

from tests.chaos.run import chaos
from tests.chaos.stage import Options


def main() -> int:
    """0 where every check held; 1 where not: then the folder with all logs is kept, and named."""
    asked = _arguments()
    options = Options(asked.seconds, asked.seed, asked.callers)
    sys.stdout.write(f"seed {options.seed}, {options.seconds:.0f} s of faults\n")
    sys.stdout.flush()
    folder = Path(tempfile.mkdtemp(prefix="ct-chaos-", dir=asked.folder))
    report = asyncio.run(chaos(folder, options))
    text = report.markdown()
    sys.stdout.write(text)
    if asked.report is not None:
        asked.report.write_text(text, encoding="utf-8")
    if report.ok and not asked.keep:
        shutil.rmtree(folder)
    else:
        sys.stdout.write(f"\nlogs, records and the provider's book are in {folder}\n")
        sys.stdout.write(
            f"again: python -m tests.chaos --seconds {asked.seconds} --seed {asked.seed}\n"
        )
    return 0 if report.ok else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--seconds", type=float, default=600.0, help="of faults")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**9))
    parser.add_argument("--callers", type=int, default=20, help="clients at a time")
    parser.add_argument("--report", type=Path, help="file for the report, in Markdown")
    parser.add_argument("--folder", type=Path, help="where the run's folder is made")
    parser.add_argument("--keep", action="store_true", help="the folder also where all held")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
