"""What each part costs, as a ratio to the bare part it is built on, measured in the same run: `python -m bench`."""
