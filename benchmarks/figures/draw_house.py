"""Draw docs/images/house.png: the rooms of the package and the imports between them, read from the files.

Type `python -m benchmarks.figures.draw_house` from the repository root. An arrow that follows from others is left out.
"""

import ast
from collections import defaultdict
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

PACKAGE = Path("dynammo")
APPS = {"monai_deploy_app", "monai_label_app"}  # run where dynammo is not installed
ROOM, FILE, INK, LINE = "#7fb7be", "#d9dee4", "#22303c", "#8fa0ae"
WIDTH, HEIGHT = 1.5, 0.55
Arrows = dict[str, set[str]]


def room_of(file: Path) -> str:
    """The room of a file of the package, or what lies beside the rooms by its own name."""
    return file.stem if file.parent == PACKAGE else file.parent.name


def arrows() -> Arrows:
    """The rooms that each room imports from, inside functions too."""
    found: Arrows = defaultdict(set)
    for file in PACKAGE.rglob("*.py"):
        if APPS & set(file.parts) or file.stem in ("__init__", "__main__"):
            continue
        nodes = ast.walk(ast.parse(file.read_text()))
        modules = [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
        found[room_of(file)] |= {module.split(".")[1] for module in modules if module.startswith("dynammo.")}
    return {room: others - {room} for room, others in found.items()}


def below(room: str, graph: Arrows) -> set[str]:
    """Every room that a room needs, through others too."""
    return graph[room].union(*(below(other, graph) for other in graph[room]))


def levels(graph: Arrows) -> dict[str, int]:
    """The floor of each room, 0 the lowest: right below the lowest of those that use it, so that arrows are short."""
    known: dict[str, int] = {}
    for room in sorted(graph, key=lambda room: -len(below(room, graph))):  # whoever uses a room needs more than it
        known[room] = min((known[user] for user in graph if room in graph[user]), default=0) - 1
    return {room: floor - min(known.values()) for room, floor in known.items()}


def draw() -> Figure:
    """Rooms on floors, arrows downwards."""
    graph, floors = arrows(), levels(arrows())
    rows = [[room for room in sorted(floors) if floors[room] == floor] for floor in range(max(floors.values()) + 1)]
    place = {
        room: (1.9 * (i - (len(row) - 1) / 2), 1.05 * y) for y, row in enumerate(rows) for i, room in enumerate(row)
    }
    figure = Figure(figsize=(8, 1.05 * len(rows) + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.axis("off")
    for room, others in graph.items():
        for other in others - set().union(*(below(between, graph) for between in others)):
            (x, y), (to_x, to_y) = place[room], place[other]
            style = {"arrowstyle": "-|>", "color": LINE, "lw": 1.1, "shrinkA": 0, "shrinkB": 1}
            axes.annotate("", (to_x, to_y + HEIGHT / 2), (x, y - HEIGHT / 2), arrowprops=style, zorder=1)
    for room, (x, y) in place.items():
        is_room = (PACKAGE / room).is_dir()
        box = FancyBboxPatch(
            (x - WIDTH / 2, y - HEIGHT / 2), WIDTH, HEIGHT, boxstyle="round,pad=0,rounding_size=0.1",
            facecolor=ROOM if is_room else FILE, edgecolor=INK, lw=1, zorder=2,
        )  # fmt: skip
        axes.add_patch(box)
        axes.text(
            x, y, f"{room}/" if is_room else f"{room}.py", ha="center", va="center", fontsize=10, color=INK, zorder=3
        )
    widest = max(abs(x) for x, _ in place.values()) + WIDTH
    axes.set(xlim=(-widest, widest), ylim=(-0.6, 1.05 * len(rows) - 0.4))
    return figure


if __name__ == "__main__":
    target = Path("docs/images/house.png")
    draw().savefig(target, dpi=110)
    print(f"wrote {target}")
