"""preflow: preference optimization as declarative workflows. This package holds all that runs inside a step."""

__version__ = "0.1.0"
