"""`python -m api` is the command `longleaf`."""

from api.cli import main

main()
