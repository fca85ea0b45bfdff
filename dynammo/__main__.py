"""`python -m dynammo` is `dynammo`."""

from dynammo.cli import main

main()
