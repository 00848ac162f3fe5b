"""The commented configuration file names every option with its default."""

from __future__ import annotations

from pathlib import Path

import yaml

from orchestrator.config import Config, load_config
from orchestrator.config.options import KEYS

FILE = Path(__file__).parents[3] / "config" / "orchestrator.yaml"


def test_every_option_is_in_the_file() -> None:
    assert set(yaml.safe_load(FILE.read_text())) == set(KEYS)


def test_the_file_says_the_defaults() -> None:
    assert load_config(FILE, environ={}) == Config()
