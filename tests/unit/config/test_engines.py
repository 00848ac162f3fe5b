"""Addresses of Engines: what is taken, and what is refused because it would be unsafe or means nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from orchestrator.config import ConfigError, load_config
from orchestrator.config.engines import EngineAddress, engine_address, engine_of_environment

FILES = {"ca": "/c/ca.pem", "cert": "/c/cert.pem", "key": "/c/key.pem"}


@pytest.mark.parametrize(
    ("url", "access", "endpoint"),
    [
        ("tcp://127.0.0.1:2375", None, ("127.0.0.1", 2375)),
        ("tcp://localhost", None, ("localhost", 2375)),
        ("tcp://[::1]:99", None, ("::1", 99)),
        ("tcp://10.0.0.5", FILES, ("10.0.0.5", 2376)),
        ("tcp://10.0.0.5:2375", {"insecure": True}, ("10.0.0.5", 2375)),
    ],
)
def test_what_is_reached_over_tcp(url: str, access: dict[str, Any] | None, endpoint: tuple[str, int]) -> None:
    assert engine_address(url, access).endpoint == endpoint


@pytest.mark.parametrize(
    ("url", "access", "complaint"),
    [
        ("http://127.0.0.1", None, "begins with unix://, tcp:// or ssh://"),
        ("/run/docker.sock", None, "begins with unix://, tcp:// or ssh://"),
        ("unix://run/docker.sock", None, "an absolute path"),
        ("tcp://10.0.0.5:2375", None, "give ca, cert and key, or say insecure: true"),
        ("tcp://docker.example:2375", {}, "give ca, cert and key, or say insecure: true"),
        ("tcp://127.0.0.1:2376", {"ca": "/c/ca.pem"}, "TLS needs ca, cert and key; cert, key is missing"),
        ("tcp://127.0.0.1:2376", {**FILES, "cacert": "/x"}, "'cacert' is none of ca, cert, key and insecure"),
        ("tcp://127.0.0.1:2376", {"insecure": "yes"}, "insecure is true or false"),
        ("tcp://127.0.0.1:0", None, "tcp://HOST:PORT and nothing else"),
        ("tcp://127.0.0.1:99999", None, "its port is none"),
        ("tcp://127.0.0.1:2375/v1.41", None, "tcp://HOST:PORT and nothing else"),
        ("tcp://me@127.0.0.1:2375", None, "no users"),
        ("ssh://", None, "ssh://USER@HOST:PORT and nothing else"),
        ("ssh://me:secret@host", None, "no passwords"),
        ("ssh://-oProxyCommand=x", None, "would be an option of ssh"),
        ("ssh://host", FILES, "are for tcp:// only"),
        ("unix:///run/docker.sock", {"insecure": True}, "are for tcp:// only"),
    ],
)
def test_what_is_refused(url: str, access: dict[str, Any] | None, complaint: str) -> None:
    with pytest.raises(ValueError, match=re.escape(complaint)):
        engine_address(url, access)


def test_dockers_own_variables() -> None:
    assert engine_of_environment({}) == EngineAddress("unix:///var/run/docker.sock")
    host = {"DOCKER_HOST": "tcp://10.0.0.5:2376", "HOME": "/root"}
    with pytest.raises(ValueError, match="root on its machine"):
        engine_of_environment(host)
    assert engine_of_environment({**host, "DOCKER_TLS_VERIFY": "1"}).key == "/root/.docker/key.pem"
    own = {**host, "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/c"}
    assert engine_of_environment(own) == EngineAddress("tcp://10.0.0.5:2376", **FILES)


def test_each_engine_of_a_cluster_is_there_once(tmp_path: Path) -> None:
    tls = "tcp://127.0.0.1:2376"
    file = tmp_path / "c.yaml"
    file.write_text(
        json.dumps(
            {
                "engine": tls,
                "nodes": 3,
                "nodeEngines": [f"node-2={tls}", "node-3=ssh://me@host"],
                "engineAccess": {tls: FILES},
            }
        )
    )
    config = load_config(file, environ={})
    assert config.engine_addresses == [EngineAddress(tls, **FILES), EngineAddress("ssh://me@host")]
    assert load_config(None, environ={}).engine_addresses == [None]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"engine": "tcp://10.0.0.5:1"}, "the Engine tcp://10.0.0.5:1: whoever reaches"),
        ({"nodeEngines": ["node-1=https://x"]}, "the Engine https://x: an Engine's address begins with"),
        ({"engineAccess": {"tcp://a": {}}}, "engineAccess: 'tcp://a' is the address of no Engine here"),
        ({"engine": "tcp://a", "engineAccess": {"tcp://a": "x"}}, "must be a map with ca, cert and key"),
    ],
)
def test_a_wrong_engine_stops_the_start_in_one_line(tmp_path: Path, options: dict[str, Any], complaint: str) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(json.dumps(options))
    with pytest.raises(ConfigError) as caught:
        load_config(file, environ={})
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)
