"""Start the API: the same as `taskqueue api`. Settings come from TASKQUEUE_* variables alone."""

from taskqueue.cli import main

if __name__ == "__main__":
    main(["api"])
