"""Draw docs/images/network.png: the network while it learns task t, and the one that ships.

Type `python -m benchmarks.figures.draw_network` from the repository root.
"""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

FROZEN, ADAPTER, HEAD, INK = "#d9dee4", "#f2a65a", "#7fb7be", "#22303c"
STAGES = (("layer1", "64"), ("layer2", "64"), ("layer3", "128"), ("layer4", "256"))


def box(axes: Axes, x: float, y: float, width: float, text: str, colour: str) -> None:
    """A labelled box whose left end is at x and whose middle is at y."""
    style = "round,pad=0.02,rounding_size=0.08"
    axes.add_patch(FancyBboxPatch((x, y - 0.3), width, 0.6, boxstyle=style, facecolor=colour, edgecolor=INK, lw=1))
    axes.text(x + width / 2, y, text, ha="center", va="center", fontsize=9, color=INK)


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    """An arrow between two points."""
    axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": INK, "lw": 1.1, "shrinkA": 0, "shrinkB": 0})


def row(axes: Axes, y: float, title: str, adapter: str, heads: list[str], note: str) -> None:
    """Stem, adapters and layers from left to right, then the heads."""
    axes.text(0, y + 1.25, title, fontsize=11, weight="bold", color=INK)
    axes.text(0, y + 0.85, note, fontsize=9, color=INK)
    box(axes, 0, y, 0.9, "stem", FROZEN)
    x = 0.9
    for name, channels in STAGES:
        arrow(axes, (x, y), (x + 0.25, y))
        box(axes, x + 0.25, y, 0.8, f"{adapter}\n{channels}", ADAPTER)
        arrow(axes, (x + 1.05, y), (x + 1.2, y))
        box(axes, x + 1.2, y, 0.8, name, FROZEN)
        x += 2.0
    arrow(axes, (x, y), (x + 0.25, y))
    box(axes, x + 0.25, y, 0.7, "mean\npool", FROZEN)
    for i, head in enumerate(heads):
        head_y = y + 0.75 * ((len(heads) - 1) / 2 - i)
        arrow(axes, (x + 0.95, y), (x + 1.4, head_y))
        box(axes, x + 1.4, head_y, 1.9, head, HEAD)


def draw() -> Figure:
    """The whole picture."""
    figure = Figure(figsize=(12.5, 5.6))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.01, 0.01, 0.98, 0.98))
    axes.set_xlim(-0.1, 12.4)
    axes.set_ylim(-1.5, 5.2)
    axes.axis("off")
    row(
        axes, 3.2, "Stage 1: learn task t", "adapter t", ["head t: classes + others"],
        "images of task t and the exemplars; only the adapters and the head are trained",
    )  # fmt: skip
    row(
        axes, 0.2, "Merge, tune the heads, ship", "merged",
        ["head 1: classes + others", "...", "head t: classes + others"],
        "merged = mean of adapters 1..t; one pass, however many tasks were learnt",
    )  # fmt: skip
    for i, (colour, text) in enumerate(
        ((FROZEN, "frozen"), (ADAPTER, "adapter (input channels below)"), (HEAD, "head"))
    ):
        box(axes, 3.2 * i, -1.15, 0.35, "", colour)
        axes.text(3.2 * i + 0.5, -1.15, text, va="center", fontsize=9, color=INK)
    return figure


if __name__ == "__main__":
    target = Path("docs/images") / "network.png"
    draw().savefig(target, dpi=110)
    print(f"wrote {target}")
