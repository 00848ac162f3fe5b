"""The options that `up` and `down` share, from the command line into the configuration."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from orchestrator.cli.flags import EXIT_USAGE, UsageError
from orchestrator.config import Config, ConfigError, load_config

FIELDS = ("data_dir", "listen", "kubeconfig", "nodes", "runtime")


def configuration(arguments: argparse.Namespace) -> Config:
    """The configuration that file, environment and command line make; UsageError in one line."""
    given = {field: getattr(arguments, field, None) for field in FIELDS}
    overrides = {field: value for field, value in given.items() if value is not None}
    if getattr(arguments, "ephemeral", False):
        overrides["ephemeral"] = True
    file = Path(arguments.config) if arguments.config else None
    try:
        return load_config(file, environ=os.environ, overrides=overrides)
    except ConfigError as error:
        raise UsageError(f"error: {error}", EXIT_USAGE) from error
