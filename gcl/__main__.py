"""``python -m gcl``."""

from gcl.cli.app import main

main()
