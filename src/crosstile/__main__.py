"""``python -m crosstile``."""

from crosstile.cli import main

main()
