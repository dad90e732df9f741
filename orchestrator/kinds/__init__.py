"""The kinds of steps, by the field that names them. To add one is to add a file, and its line."""

from collections.abc import Mapping
from types import MappingProxyType

from orchestrator.kinds.approval import Approval
from orchestrator.kinds.command import Command
from orchestrator.kinds.contract import Kind
from orchestrator.kinds.http import Http
from orchestrator.kinds.prompt import Prompt
from orchestrator.kinds.python import Python
from orchestrator.kinds.sleep import Sleep
from orchestrator.kinds.workflow import SubWorkflow

KINDS: Mapping[str, type[Kind]] = MappingProxyType(
    {
        "prompt": Prompt,
        "command": Command,
        "python": Python,
        "http": Http,
        "approval": Approval,
        "workflow": SubWorkflow,
        "sleep": Sleep,
    }
)

__all__ = ["KINDS", "Kind"]
