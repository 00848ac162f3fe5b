"""The options that `up` and `down` share, from the command line into the configuration."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.cli.flags import EXIT_USAGE, UsageError
from orchestrator.config import Config, ConfigError, load_config

FIELDS = ("data_dir", "listen", "kubeconfig", "nodes", "runtime", "network")


def configuration(arguments: argparse.Namespace) -> Config:
    """The configuration that file, environment and command line make; UsageError in one line."""
    given = {field: getattr(arguments, field, None) for field in FIELDS}
    overrides = {field: value for field, value in given.items() if value is not None}
    if getattr(arguments, "ephemeral", False):
        overrides["ephemeral"] = True
    file = Path(arguments.config) if arguments.config else None
    try:
        config = load_config(file, environ=os.environ, overrides=overrides)
    except ConfigError as error:
        raise UsageError(f"error: {error}", EXIT_USAGE) from error
    if config.scheduler:
        _check_scheduler(config.scheduler)
    return config


def _check_scheduler(document: Mapping[str, Any]) -> None:
    """What is in `scheduler` is for the scheduler to judge; a mistake must stop the start, not the component."""
    from orchestrator.scheduler.configuration import parse_configuration
    from orchestrator.scheduler.fields import ConfigurationError

    try:
        parse_configuration(document)
    except ConfigurationError as error:
        raise UsageError(f"error: scheduler: {error}", EXIT_USAGE) from error
