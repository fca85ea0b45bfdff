"""Files as disks, transfers and attackers leave them."""

import io
import pickle
import random
import zipfile
from pathlib import Path


def damaged(content: bytes, chosen: random.Random, others: list[bytes]) -> bytes:
    """`content` cut short, overwritten, with bits turned, parts doubled or taken from other files, or emptied."""
    if not content:
        return b"\0"
    at, size = chosen.randrange(len(content)), 1 << chosen.randrange(13)
    other = chosen.choice(others)
    spot = chosen.randrange(max(1, len(other)))
    kinds = [
        content[:at],
        content[at:],
        content[:at] + bytes([content[at] ^ (1 << chosen.randrange(8))]) + content[at + 1 :],
        content[:at] + chosen.randbytes(size) + content[at + size :],
        content[:at] + bytes(size) + content[at + size :],
        content[:at] + chosen.randbytes(size) + content[at:],
        content[:at] + content[at + size :],
        content[: at + size] + content[at:],
        content[:at] + other[spot : spot + size] + content[at + size :],
        other,
        b"",
    ]
    return chosen.choice([*kinds, kinds[2], kinds[2]])  # a turned bit is the smallest and the most common


class Bomb:
    """What makes a file when it is unpickled."""

    def __init__(self, sprung: Path) -> None:
        self.sprung = str(sprung)

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, (f"open({self.sprung!r}, 'w').close()",)


def bombs(sprung: Path, checkpoint: bytes) -> list[bytes]:
    """A checkpoint whose pickle is a bomb, as torch writes it and as plain pickles of every protocol."""
    content = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(checkpoint)) as source, zipfile.ZipFile(content, "w") as target:
        for info in source.infolist():
            bomb = info.filename.endswith("/data.pkl")
            target.writestr(info, pickle.dumps({"heads": Bomb(sprung)}, 2) if bomb else source.read(info))
    return [content.getvalue(), *(pickle.dumps(Bomb(sprung), protocol) for protocol in range(6))]
