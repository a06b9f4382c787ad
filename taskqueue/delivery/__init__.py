"""One attempt out: an HTTP request to an outcome. Silent: it returns or raises, and never logs."""
