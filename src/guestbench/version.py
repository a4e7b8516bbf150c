"""The version, for modules that must not load what the package itself offers."""

__version__ = "0.2.0"
