"""What pages of the docs tell people to type."""

import re

from synthetic.datasets import ROOT


def commands_of(page: str) -> list[str]:
    """Lines of the bash blocks of a page, named from the root of the repository; continued lines are one."""
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    return [line for block in blocks for line in block.replace("\\\n", " ").strip().splitlines()]
