"""Tools that prepare data for the bundle: `python -m data_prep.NAME`."""

from pathlib import Path

__path__ = [*__path__, str(Path(__file__).parent / "datasets")]  # `python -m data_prep.isic2019` and the like
