"""The built-in ingress controller: `kubectl create ingress` serves, over HTTP, HTTPS and WebSocket."""

from __future__ import annotations

import datetime
import http.client
import json
import socket
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.e2e.manifests import apply, pod
from tests.e2e.orchestrator_process import Kubectl, is_ready
from tests.e2e.packets import Place, place_of, until


@dataclass
class Site:
    """Two web applications behind Services, and where Ingresses are served."""

    k: Kubectl
    address: str
    places: dict[str, Place]

    def get(self, host: str, path: str = "/") -> tuple[int, str]:
        """Status and body of one request."""
        connection = http.client.HTTPConnection(self.address, 80, timeout=5)
        connection.request("GET", path, headers={"Host": host})
        response = connection.getresponse()
        body = response.read().decode()
        connection.close()
        return response.status, body.strip()

    def serves(self, host: str, path: str, wanted: str) -> None:
        """Return once this request is answered by the pod `wanted`."""
        until(lambda: wanted in self.get(host, path)[1])

    def ingress(self, **spec: Any) -> None:
        manifest = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "site"}, "spec": spec}
        self.k("apply", "-f", "-", stdin=json.dumps(manifest))


def web(name: str) -> dict[str, Any]:
    container = {"name": "main", "image": "orchestrator.test/web:1", "imagePullPolicy": "Never"}
    return {**pod(name, container), "metadata": {"name": name, "labels": {"app": name}}}


def service(name: str) -> dict[str, Any]:
    ports = [{"name": "http", "port": 80, "targetPort": 8080}, {"name": "raw", "port": 81, "targetPort": 8000}]
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"selector": {"app": name}, "ports": ports}}  # fmt: skip


@pytest.fixture
def site(k: Kubectl) -> Site:
    apply(k, web("one"), web("two"), service("one"), service("two"))
    pods = k.wait_for("pods", lambda pods: len(pods) == 2 and all(map(is_ready, pods)))
    address = k.json("get", "node", "node-2")["status"]["addresses"][0]["address"]
    return Site(k, address, {p["metadata"]["name"]: place_of(p) for p in pods})


def test_kubectl_create_ingress_serves(site: Site) -> None:
    site.k("create", "ingress", "site", "--rule=one.example/*=one:80", "--rule=two.example/healthz=two:http")
    site.serves("one.example", "/", "web 1 on one")
    assert site.get("two.example", "/healthz") == (200, "ok")
    assert site.get("two.example", "/healthz/not")[0] == 404
    assert site.get("three.example")[0] == 404
    ingress = site.k.json("get", "ingress", "site")
    assert ingress["spec"]["ingressClassName"] == "orchestrator"
    shown = site.k.wait_for(
        "ingresses", lambda found: any(one["status"]["loadBalancer"].get("ingress") for one in found)
    )
    assert site.address in [one["ip"] for one in shown[0]["status"]["loadBalancer"]["ingress"]]
    site.k("delete", "ingress", "site")
    until(lambda: site.get("one.example")[0], 404)


def test_a_default_backend_gets_the_rest(site: Site) -> None:
    backend = {"service": {"name": "two", "port": {"number": 80}}}
    rule = {"host": "*.example", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    site.ingress(defaultBackend={"service": {"name": "one", "port": {"name": "http"}}}, rules=[rule])
    site.serves("anything.test", "/", "web 1 on one")
    site.serves("a.example", "/", "web 1 on two")
    assert site.get("anything.test", "/healthz") == (200, "ok")
    assert site.get("anything.test", "/missing")[0] == 404


def test_without_a_pod_the_answer_is_503(site: Site) -> None:
    site.k("create", "ingress", "site", "--rule=one.example/*=one:80", "--rule=none.example/*=nothing:80")
    site.serves("one.example", "/", "web 1 on one")
    assert site.get("none.example")[0] == 503
    site.k("delete", "pod", "one")
    until(lambda: site.get("one.example")[0], 503)


def certificate_for(host: str, folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate and its key, as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    files = folder / f"{host}.crt", folder / f"{host}.key"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


def test_tls_with_a_certificate_for_each_host(site: Site, tmp_path: Path) -> None:
    trusted = {}
    for host in ("one.example", "two.example"):
        certificate, key = certificate_for(host, tmp_path)
        site.k("create", "secret", "tls", host, f"--cert={certificate}", f"--key={key}")
        trusted[host] = certificate
    site.k("create", "ingress", "site", "--rule=one.example/*=one:80,tls=one.example",
           "--rule=two.example/*=two:80,tls=two.example")  # fmt: skip

    def fetch(host: str) -> str:
        context = ssl.create_default_context(cafile=str(trusted[host]))
        with (
            socket.create_connection((site.address, 443), timeout=5) as plain,
            context.wrap_socket(plain, server_hostname=host) as connection,
        ):
            connection.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            while data := connection.recv(4096):
                answer += data
        return answer.decode()

    for host, name in (("one.example", "one"), ("two.example", "two")):
        assert "200 OK" in until(lambda: fetch(host))  # noqa: B023
        assert f"web 1 on {name}" in fetch(host)


def test_upgraded_connections_pass_in_both_directions(site: Site) -> None:
    listener = site.places["one"].socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("0.0.0.0", 8000))
    listener.listen()
    seen: list[str] = []

    def answer() -> None:
        """As a WebSocket server would: 101, then whatever comes goes back."""
        connection, _ = listener.accept()
        with connection:
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(4096)
            seen.append(head.decode())
            connection.sendall(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Accept: x\r\n\r\n"
            )
            while data := connection.recv(65_536):
                connection.sendall(data)

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    site.k("create", "ingress", "site", "--rule=one.example/web*=one:80", "--rule=one.example/socket*=one:raw")
    site.serves("one.example", "/web/healthz", "")
    until(lambda: site.get("one.example", "/web")[0] == 404 and site.get("one.example", "/nowhere")[0] == 404)
    with socket.create_connection((site.address, 80), timeout=5) as connection:
        connection.sendall(
            b"GET /socket HTTP/1.1\r\nHost: one.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Key: x\r\n\r\n"
        )
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(4096)
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"sec-websocket-accept: x" in head.lower()
        payload = b"0123456789" * 50_000
        sender = threading.Thread(target=connection.sendall, args=(payload,))
        sender.start()
        received = b""
        while len(received) < len(payload):
            received += connection.recv(65_536)
        sender.join()
        assert received == payload
    thread.join(5)
    listener.close()
    headers = seen[0].lower()
    assert "host: one.example" in headers
    assert "x-forwarded-proto: http" in headers
    assert "x-forwarded-for: " in headers


def test_an_ingress_of_another_class_is_somebody_elses(site: Site) -> None:
    site.k("create", "ingress", "mine", "--rule=one.example/*=one:80")
    site.k("create", "ingress", "other", "--class=other", "--rule=other.example/*=one:80")
    site.serves("one.example", "/", "web 1 on one")
    assert site.get("other.example")[0] == 404
