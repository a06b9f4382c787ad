"""Tables and the statements on them. Callers open the transaction; nothing here commits, logs or sleeps on purpose."""
