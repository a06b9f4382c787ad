"""Start a worker: the same as `taskqueue worker`. Settings come from TASKQUEUE_* variables alone."""

from taskqueue.cli import main

if __name__ == "__main__":
    main(["worker"])
