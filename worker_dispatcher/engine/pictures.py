"""The graph of jobs as text that other programs draw: mermaid, and dot of graphviz."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from worker_dispatcher.engine.status import CANCELLED, CREATED, DONE, FAILED, PENDING, RUNNING
from worker_dispatcher.named_tuple import NamedTuple

_COLORS = {
    CREATED: "#ffffff",
    PENDING: "#eceff4",
    RUNNING: "#bcd7f5",
    DONE: "#c3e6c3",
    FAILED: "#f5b7b1",
    CANCELLED: "#e0d4f0",
    "interrupted": "#f7ddb0",  # its program ended while it ran
}
_LONGEST = 60  # characters of a name


class Node(NamedTuple):
    """A job in a picture. needs: ids of the jobs that it waits for; those that are not in the picture are unknown."""

    id: str
    name: str
    status: str
    needs: Sequence[str]


def mermaid(nodes: Iterable[Node]) -> str:
    """A flowchart: documentation tools and code hosts draw it. Jobs in their order; unknown ones dashed."""
    nodes = list(nodes)
    keys = _keys(nodes)
    known = {node.id for node in nodes}
    lines = ["graph LR"]
    lines += [f'    {keys[node.id]}["{_quoted(node.name)}<br/>{node.status}"]:::{node.status}' for node in nodes]
    lines += [f'    {keys[id]}["{_quoted(id)}<br/>unknown"]:::unknown' for id in keys if id not in known]
    lines += [f"    {keys[need]} --> {keys[node.id]}" for node in nodes for need in node.needs]
    used = [status for status in _COLORS if any(node.status == status for node in nodes)]
    lines += [f"    classDef {status} fill:{_COLORS[status]},stroke:#4c566a,color:#2e3440" for status in used]
    if len(keys) > len(known):
        lines.append("    classDef unknown fill:#ffffff,stroke:#4c566a,stroke-dasharray:4,color:#2e3440")
    return "\n".join(lines) + "\n"


def dot(nodes: Iterable[Node]) -> str:
    """A digraph for graphviz: `dot -Tsvg`."""
    nodes = list(nodes)
    keys = _keys(nodes)
    known = {node.id for node in nodes}
    lines = ["digraph jobs {", '    rankdir=LR; node [shape=box, style="rounded,filled", fontname="sans-serif"];']
    for node in nodes:
        label = f"{_escaped(node.name)}\\n{node.status}"
        lines.append(f'    {keys[node.id]} [label="{label}", fillcolor="{_COLORS.get(node.status, "#ffffff")}"];')
    for id in keys:
        if id not in known:
            lines.append(f'    {keys[id]} [label="{_escaped(id)}\\nunknown", style="rounded,dashed"];')
    lines += [f"    {keys[need]} -> {keys[node.id]};" for node in nodes for need in node.needs]
    return "\n".join([*lines, "}"]) + "\n"


def _keys(nodes: Iterable[Node]) -> dict[str, str]:
    """Short names for ids, which may hold any characters."""
    ids = dict.fromkeys([*(node.id for node in nodes), *(need for node in nodes for need in node.needs)])
    return {id: f"j{number}" for number, id in enumerate(ids, start=1)}


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _LONGEST else f"{flat[: _LONGEST - 3]}..."


def _quoted(text: str) -> str:
    """For mermaid, which reads some of HTML."""
    marks = {"&": "#amp;", '"': "#quot;", "<": "#lt;", ">": "#gt;"}
    return "".join(marks.get(mark, mark) for mark in _short(text))


def _escaped(text: str) -> str:
    return _short(text).replace("\\", "\\\\").replace('"', '\\"')
