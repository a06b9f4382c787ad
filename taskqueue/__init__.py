"""A durable HTTP task queue. Import what you need from the modules below; this one imports nothing."""

__version__ = "0.1.0"
