"""Configuration: one set of options from file, environment and command line."""
