"""What docs/workflows.md gives to whoever writes a server for `http` steps, as it stands there."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

DOC = Path(__file__).parent.parent.parent / "docs" / "workflows.md"
Check = Callable[[str, Mapping[str, str], bytes], bool]


def signature_check() -> Check:
    """Of a key in hexadecimal, the headers of a request (in lower case) and its body."""
    found = re.search(
        r"```python\n(import hashlib\n.*?)```", DOC.read_text(encoding="utf-8"), re.DOTALL
    )
    assert found is not None
    names: dict[str, Any] = {}
    exec(found[1], names)  # our own document
    check: Check = names["is_from_comptroller"]
    return check
