"""The configuration of a cluster: what may be set, where, and what is wrong with it."""

from orchestrator.config.options import Config, ConfigError, load_config

__all__ = ["Config", "ConfigError", "load_config"]
