"""`python -m stylequeue.cli`."""

from . import main

main()
