"""Cluster DNS, asked by real resolvers: `getent` of glibc and `nslookup` of busybox in pods; TCP from the machine.

Source: Kubernetes DNS-Based Service Discovery 1.1; kubernetes.io/docs/concepts/services-networking/dns-pod-service.
"""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
from typing import Any

import pytest

from tests.e2e.manifests import apply, container, output_of, pod
from tests.e2e.orchestrator_process import Kubectl, is_ready
from tests.e2e.packets import place_of, until

LIBC = "orchestrator.test/libc:1"


def service(name: str, **spec: Any) -> dict[str, Any]:
    spec = {"ports": [{"name": "http", "port": 80, "protocol": "TCP"}], **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


@pytest.fixture
def asker(k: Kubectl) -> Asker:
    """Services of every kind, a pod with a name of its own, and one to ask from."""
    named = pod("named", hostname="first", subdomain="headless")
    named["metadata"]["labels"] = {"app": "named"}
    both = pod("asker", container(image=LIBC), container(name="busybox"))
    apply(
        k,
        named,
        both,
        service("web", selector={"app": "named"}),
        service("headless", selector={"app": "named"}, clusterIP="None"),
        service("outside", type="ExternalName", externalName="localhost.example", ports=[]),
        service("inside", type="ExternalName", externalName=f"web.{k.namespace}.svc.cluster.local", ports=[]),
    )
    pods = k.wait_for("pods", lambda pods: len(pods) == 2 and all(map(is_ready, pods)))
    k.wait_for("endpointslices", lambda slices: sum(bool(one.get("endpoints")) for one in slices) >= 2)
    return Asker(k, next(p["status"]["podIP"] for p in pods if p["metadata"]["name"] == "named"))


class Asker:
    """Look-ups from within a pod."""

    def __init__(self, k: Kubectl, named_ip: str) -> None:
        self.k = k
        self.named_ip = named_ip
        self.web_ip = k.json("get", "service", "web")["spec"]["clusterIP"]
        self.suffix = f"{k.namespace}.svc.cluster.local"

    def getent(self, *names: str) -> dict[str, set[str]]:
        """The IPv4 addresses that glibc finds for names; searched as resolv.conf says."""
        script = "; ".join(f"echo {name} $(getent ahostsv4 {name} | cut -d' ' -f1 | sort -u)" for name in names)
        lines = self.k("exec", "asker", "-c", "main", "--", "sh", "-c", script).splitlines()
        return {words[0]: set(words[1:]) for words in map(str.split, lines)}

    def nslookup(self, kind: str, name: str) -> str:
        """What busybox prints about a full name, errors included."""
        done = self.k.run("exec", "asker", "-c", "busybox", "--", "nslookup", f"-type={kind}", name)
        return done.stdout + done.stderr


def reverse(address: str) -> str:
    """The name that stands for an address."""
    return ".".join(reversed(address.split("."))) + ".in-addr.arpa"


def test_names_of_services_lead_to_their_addresses(asker: Asker) -> None:
    """Conformance: "should provide DNS for services", "for the cluster", "for pods for Hostname" and "Subdomain"."""
    web, named = {asker.web_ip}, {asker.named_ip}
    kubernetes = {asker.k.json("get", "service", "kubernetes", "-n", "default")["spec"]["clusterIP"]}
    wanted = {
        "web": web,
        f"web.{asker.k.namespace}": web,
        f"web.{asker.k.namespace}.svc": web,
        f"web.{asker.suffix}": web,
        f"web.{asker.suffix}.": web,
        "headless": named,
        "first.headless": named,
        f"first.headless.{asker.suffix}": named,
        "inside": web,
        "kubernetes.default": kubernetes,
        "kubernetes.default.svc.cluster.local": kubernetes,
        "nothing": set(),
        f"{asker.named_ip.replace('.', '-')}.{asker.k.namespace}.pod.cluster.local": named,
        "asker": {asker.k.json("get", "pod", "asker")["status"]["podIP"]},
    }
    assert until(lambda: asker.getent(*wanted), wanted) == wanted


def test_records_of_other_types(asker: Asker) -> None:
    srv = asker.nslookup("srv", f"_http._tcp.web.{asker.suffix}")
    assert re.search(rf"service = 0 100 80 web\.{re.escape(asker.suffix)}", srv), srv
    srv = asker.nslookup("srv", f"_http._tcp.headless.{asker.suffix}")
    assert re.search(rf"service = 0 100 80 first\.headless\.{re.escape(asker.suffix)}", srv), srv
    assert f"name = web.{asker.suffix}" in asker.nslookup("ptr", reverse(asker.web_ip))
    assert f"name = first.headless.{asker.suffix}" in asker.nslookup("ptr", reverse(asker.named_ip))
    assert "canonical name = localhost.example" in asker.nslookup("cname", f"outside.{asker.suffix}")
    assert "NXDOMAIN" in asker.nslookup("a", f"nothing.{asker.suffix}")


def test_an_external_name_changes_with_its_service(asker: Asker) -> None:
    """Conformance: "should provide DNS for ExternalName services"."""
    name = f"outside.{asker.suffix}"
    asker.k("patch", "service", "outside", "-p", '{"spec":{"externalName":"other.example"}}')
    until(lambda: "canonical name = other.example" in asker.nslookup("cname", name))
    port = '[{"name":"http","port":80,"protocol":"TCP"}]'
    asker.k("patch", "service", "outside", "--type=merge", "-p",
            f'{{"spec":{{"type":"ClusterIP","externalName":null,"ports":{port}}}}}')  # fmt: skip
    address = asker.k.json("get", "service", "outside")["spec"]["clusterIP"]
    until(lambda: asker.getent("outside"), {"outside": {address}})


def test_resolver_configuration_of_pods(k: Kubectl) -> None:
    """Conformance: "should support configurable pod DNS nameservers"; pods.spec.dnsPolicy and dnsConfig."""
    show = container("cat /etc/resolv.conf")
    dns = k.json("get", "service", "kube-dns", "-n", "kube-system")["spec"]["clusterIP"]
    first = output_of(k, pod("default", show)).splitlines()
    assert first[0].startswith(f"search {k.namespace}.svc.cluster.local svc.cluster.local cluster.local")
    assert first[1:] == [f"nameserver {dns}", "options ndots:5"]
    config = {
        "nameservers": ["1.1.1.1"],
        "searches": ["resolv.conf.local"],
        "options": [{"name": "ndots", "value": "2"}],
    }
    own = output_of(k, pod("own", show, dnsPolicy="None", dnsConfig=config))
    assert own == "search resolv.conf.local\nnameserver 1.1.1.1\noptions ndots:2\n"


def test_hosts_files_of_pods(k: Kubectl) -> None:
    """Conformance: "should provide /etc/hosts entries for the cluster", "should write entries to /etc/hosts"."""
    aliases = [{"ip": "123.45.67.89", "hostnames": ["foo", "bar"]}]
    log = output_of(k, pod("hosts", container("cat /etc/hosts; hostname -i"), hostAliases=aliases, hostname="me",
                           subdomain="there"))  # fmt: skip
    assert "123.45.67.89\tfoo\tbar\n" in log
    address = log.splitlines()[-1]
    assert f"{address}\tme.there.{k.namespace}.svc.cluster.local\tme\n" in log


def test_the_machine_and_tcp_get_the_same_answers(asker: Asker) -> None:
    dns = asker.k.json("get", "service", "kube-dns", "-n", "kube-system")["spec"]["clusterIP"]
    name = f"web.{asker.suffix}"
    question = b"".join(bytes((len(label),)) + label.encode() for label in name.split(".")) + b"\0\0\1\0\1"
    message = struct.pack("!HHHHHH", 4711, 0x0100, 1, 0, 0, 0) + question
    with socket.create_connection((dns, 53), timeout=2) as connection:
        connection.sendall(struct.pack("!H", len(message)) + message)
        answer = connection.recv(1000)[2:]
    assert answer[:2] == message[:2]
    assert socket.inet_ntoa(answer[-4:]) == asker.web_ip
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as conversation:
        conversation.settimeout(2)
        conversation.sendto(message, (dns, 53))
        assert socket.inet_ntoa(conversation.recv(1000)[-4:]) == asker.web_ip


def test_a_stub_domain_is_asked_of_its_own_server(asker: Asker) -> None:
    """kubernetes.io "Customizing DNS Service"; the server is a pod."""
    place = place_of(asker.k.json("get", "pod", "named"))
    server = place.socket(socket.SOCK_DGRAM)
    server.bind(("0.0.0.0", 53))

    def serve() -> None:
        """Every name has the address 192.0.2.77; ends when nobody asks for a while."""
        server.settimeout(15)
        try:
            while True:
                data, client = server.recvfrom(2000)
                end = data.index(b"\0", 12) + 5
                has_address = data[end - 4 : end - 2] == b"\0\1"
                head = data[:2] + struct.pack("!HHHHH", 0x8180, 1, int(has_address), 0, 0)
                record = b"\xc0\x0c\0\1\0\1\0\0\0\x05\0\x04" + socket.inet_aton("192.0.2.77")
                server.sendto(head + data[12:end] + (record if has_address else b""), client)
        except TimeoutError:
            server.close()

    threading.Thread(target=serve, daemon=True).start()
    stubs = json.dumps({"acme.local": [place.address]})
    asker.k("create", "configmap", "kube-dns", "-n", "kube-system", f"--from-literal=stubDomains={stubs}")
    try:
        until(lambda: asker.getent("www.acme.local"), {"www.acme.local": {"192.0.2.77"}})
    finally:
        asker.k("delete", "configmap", "kube-dns", "-n", "kube-system")
