"""The road of a claimed task: deliver, decide, settle. Reads the clock, draws the dice, and keeps its leases alive."""
