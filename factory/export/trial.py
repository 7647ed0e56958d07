"""An exporter tried on one made-up row."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from factory.core.trial import TrialError, call_own
from factory.export.formats import ExportFormat
from factory.export.layouts import Conversation, Layout


def try_format(found: type[ExportFormat], name: str) -> str:
    """Write one row. Raises TrialError."""
    made = call_own(name, "__init__", found, "an exporter is made without arguments")
    layouts = getattr(made, "layouts", None)
    if not isinstance(layouts, Mapping) or not layouts:
        raise TrialError(f"{name}: layouts is {layouts!r:.60}; set it to a mapping of layouts")
    path = getattr(made, "path", None)
    if not isinstance(path, str) or "{" not in path:
        raise TrialError(f"{name}: path is {path!r}; set it, with {{split}} or {{shard}} in it")
    for key, layout in layouts.items():
        if not isinstance(layout, Layout):
            raise TrialError(f"{name}: layouts[{key!r}] is {layout!r:.60}, no Layout")
    layout = next(iter(layouts.values()))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / path.format(split="train", shard="train-00000-of-00001")
        writer = call_own(
            name, "writer", lambda: made.writer(file, layout), "open the file at path"
        )
        if isinstance(layout, Conversation):
            turns = [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "2"}]
            call_own(name, "write", lambda: writer.write([{"id": "x-0", "messages": turns}]), "")
        call_own(name, "close", writer.close, "")
        size = file.stat().st_size if file.exists() else 0
    if not size:
        raise TrialError(
            f"{name}: its writer wrote nothing to {file.name}; write to the path given"
        )
    return f"exporter {name} wrote one made-up row to {file.name}, {size:,} bytes"
