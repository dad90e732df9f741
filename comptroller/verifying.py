"""Verifies the chain of every organisation, against its signed heads, and exports the evidence."""

import asyncio
import json
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from clickhouse.events import COLUMNS
from clickhouse.query import load_query
from clickhouse.store import Store
from comptroller.data_dir import recorder_folder
from comptroller.reading import open_records
from comptroller.settings import Settings

PAGE_EVENTS = 100_000
