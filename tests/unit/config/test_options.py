"""Where options may be set, what wins, and what is refused in one clear line."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.config import Config, ConfigError, load_config


def test_defaults_need_no_file() -> None:
    config = load_config(None, environ={})
    assert config.listen_address == ("127.0.0.1", 6443)
    assert config.kubeconfig_path == config.data_dir / "kubeconfig"


def test_command_line_beats_environment_beats_file(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("nodes: 2\nlisten: 127.0.0.1:1\nruntime: hollow\n")
    config = load_config(
        file, environ={"ORCHESTRATOR_NODES": "3", "ORCHESTRATOR_LISTEN": "127.0.0.1:2"}, overrides={"nodes": 4}
    )
    assert (config.nodes, config.listen, config.runtime) == (4, "127.0.0.1:2", "hollow")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("node: 3", "unknown option 'node'; did you mean 'nodes'?"),
        ("nodes: three", "nodes must be a number, not 'three'"),
        ("nodes: true", "nodes must be a number, not True"),
        ("nodes: -1", "nodes must be between 0 and"),
        ("runtime: podman", "runtime must be one of docker, hollow, not 'podman'"),
        ("listen: localhost", "listen must be HOST:PORT"),
        ("podCIDR: 10.0.0.1/16", "has host bits set"),
        ("podCIDR: 10.96.0.0/12", "podCIDR 10.96.0.0/12 overlaps with serviceCIDR 10.96.0.0/16"),
        ("controllers: deployment", "controllers must be a list of texts"),
        ("shutdownGracePeriod: soon", 'shutdownGracePeriod: time: invalid duration "soon"'),
        ("shutdownGracePeriodCriticalPods: 5s", "must not be longer than shutdownGracePeriod"),
        ("ephemeral: maybe", "ephemeral must be true or false"),
        ("- a", "a config file is a map of options"),
        ("a: [", "line 2: not YAML"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(file, environ={})
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("ORCHESTRATOR_NODE", "1", "unknown environment variable ORCHESTRATOR_NODE"),
        ("ORCHESTRATOR_NODES", "x", "ORCHESTRATOR_NODES: 'x' is not a number"),
        ("ORCHESTRATOR_EPHEMERAL", "x", "neither true nor false"),
    ],
)
def test_a_wrong_environment_is_refused(name: str, value: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match="ORCHESTRATOR") as caught:
        load_config(None, environ={name: value})
    assert complaint in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the config file"):
        load_config(tmp_path / "none.yaml", environ={})


def test_lists_in_the_environment_are_separated_by_commas() -> None:
    config = load_config(None, environ={"ORCHESTRATOR_CONTROLLERS": "*, -cronjob"})
    assert config.controllers == ("*", "-cronjob")


def test_every_field_has_a_key() -> None:
    from orchestrator.config.options import KEYS

    assert set(KEYS.values()) == set(Config.__struct_fields__)
