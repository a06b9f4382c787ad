"""`python -m taskqueue.cli`: how one process of the command line starts another."""

from taskqueue.cli import main

if __name__ == "__main__":
    main(prog_name="taskqueue")
