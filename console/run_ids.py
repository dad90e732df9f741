"""Ids and names of runs as callers write them."""

import re
from typing import Annotated

from fastapi import Path

from orchestrator.places import RUN_ID, STEP_ID
from orchestrator.running.deciding import NoSuchRun
from orchestrator.running.showing import NoSuchStep

_RUN = re.compile(RUN_ID)
_STEP = re.compile(STEP_ID)
CHARS_MAX = 256
CHARS_SHOWN = 64
RUN_NAME = r"^[A-Za-z0-9][A-Za-z0-9._:@+=~-]{0,127}$"
"""Without `/`: runs inside runs have names with it, which nobody else may take."""

RunId = Annotated[str, Path(alias="id", max_length=CHARS_MAX)]
StepId = Annotated[str, Path(alias="step", max_length=CHARS_MAX)]
Entry = Annotated[int, Path(alias="entry", ge=0, le=10**6)]


def run_id(text: str) -> str:
    """What could be one. Raises NoSuchRun."""
    if not _RUN.fullmatch(text):
        raise NoSuchRun(text[:CHARS_SHOWN])
    return text


def step_id(run: str, text: str) -> str:
    """What could be one. Raises NoSuchStep."""
    if not _STEP.fullmatch(text):
        raise NoSuchStep(run, text[:CHARS_SHOWN])
    return text
