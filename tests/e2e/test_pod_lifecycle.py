"""The life of pods on real containers: order, probes, hooks, ends, namespaces, live changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.e2e.manifests import (
    WAIT,
    Pod,
    apply,
    condition,
    container,
    has_phase,
    is_running,
    output_of,
    pod,
    status_of,
    wait_for_event,
    wait_for_pod,
    waiting_reason,
)
from tests.e2e.orchestrator_process import Kubectl, docker, is_ready


def shared(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """A volume on the machine, and its mount at /log: it outlives the pod."""
    volume = {"name": "log", "hostPath": {"path": str(path), "type": "Directory"}}
    return volume, {"name": "log", "mountPath": "/log"}


def lines_of(path: Path) -> list[str]:
    return (path / "log").read_text().split()


def test_init_containers_and_sidecars_start_in_order_and_stop_in_reverse(k: Kubectl, tmp_path: Path) -> None:
    volume, mount = shared(tmp_path)

    def said(name: str, more: str = "", **fields: Any) -> dict[str, Any]:
        return container(f"echo {name} >> /log/log; {more}", name=name, volumeMounts=[mount], **fields)

    def lives(name: str, before: str = "", **fields: Any) -> dict[str, Any]:
        script = f"trap 'echo stop-{name} >> /log/log; exit 0' TERM; {before} while :; do sleep 1000 & wait $!; done"
        return said(name, script, **fields)

    started = {
        "exec": {"command": ["test", "-e", "/tmp/started"]}, "periodSeconds": 1, "timeoutSeconds": 10,
        "failureThreshold": 60,
    }  # fmt: skip
    apply(
        k,
        pod(
            "ordered",
            lives("app"),
            initContainers=[
                said("first"),
                lives(
                    "side-1",
                    "sleep 1; echo side-1-started >> /log/log; touch /tmp/started;",
                    restartPolicy="Always",
                    startupProbe=started,
                ),
                said("second"),
                lives("side-2", "touch /tmp/started;", restartPolicy="Always", startupProbe=started),
                said("third"),
            ],
            volumes=[volume],
            terminationGracePeriodSeconds=20,
        ),
    )
    running = wait_for_pod(k, "ordered", is_ready)
    assert lines_of(tmp_path) == ["first", "side-1", "side-1-started", "second", "side-2", "third", "app"]
    assert status_of(running, "first")["state"]["terminated"]["reason"] == "Completed"
    assert status_of(running, "side-1")["started"] is True
    assert k("get", "pod", "ordered", "--no-headers").split()[1:3] == ["3/3", "Running"]
    k("delete", "pod", "ordered", "--wait=true")
    assert lines_of(tmp_path)[-3:] == ["stop-app", "stop-side-2", "stop-side-1"]


def test_a_sidecar_that_dies_is_started_again_and_ends_with_a_finished_pod(k: Kubectl) -> None:
    side = container(name="side", restartPolicy="Always")
    apply(
        k,
        pod(
            "job",
            container("while [ ! -e /tmp/end ]; do sleep 0.1; done"),
            initContainers=[side],
            restartPolicy="Never",
        ),
    )
    running = wait_for_pod(k, "job", is_ready)
    docker("kill", status_of(running, "side")["containerID"].removeprefix("docker://"))
    wait_for_pod(k, "job", lambda p: status_of(p, "side").get("restartCount") == 1 and is_ready(p))
    k("exec", "job", "-c", "main", "--", "touch", "/tmp/end")
    ended = wait_for_pod(k, "job", has_phase("Succeeded", "Failed"))
    assert ended["status"]["phase"] == "Succeeded"
    assert "terminated" in status_of(ended, "side")["state"]


def test_an_init_container_that_fails_holds_the_pod_or_ends_it(k: Kubectl) -> None:
    broken = container("exit 7", name="init")
    apply(
        k,
        pod("never", initContainers=[broken], restartPolicy="Never"),
        pod("always", initContainers=[broken]),
    )
    ended = wait_for_pod(k, "never", has_phase("Failed"))
    assert status_of(ended, "init")["state"]["terminated"]["exitCode"] == 7
    assert status_of(ended)["state"]["waiting"]["reason"] == "PodInitializing"
    assert condition(ended, "Initialized")["status"] == "False"
    assert k("get", "pod", "never", "--no-headers").split()[2] == "Init:Error"
    held = wait_for_pod(
        k,
        "always",
        lambda p: status_of(p, "init").get("state", {}).get("waiting", {}).get("reason") == "CrashLoopBackOff",
    )
    assert held["status"]["phase"] == "Pending"
    assert status_of(held, "init")["lastState"]["terminated"]["exitCode"] == 7


def test_nothing_else_is_probed_before_the_startup_probe_succeeded(k: Kubectl) -> None:
    probes: dict[str, Any] = {
        "startupProbe": {
            "exec": {"command": ["test", "-e", "/tmp/started"]}, "periodSeconds": 1, "timeoutSeconds": 10,
            "failureThreshold": 60,
        },
        "livenessProbe": {
            "exec": {"command": ["test", "-e", "/tmp/started"]}, "periodSeconds": 1, "timeoutSeconds": 10,
            "failureThreshold": 1,
        },
        "readinessProbe": {"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1},
    }  # fmt: skip
    apply(k, pod("slow", container(**probes)))
    wait_for_event(k, "Unhealthy", "Startup probe failed")
    waiting = wait_for_pod(k, "slow", is_running)
    assert (status_of(waiting)["started"], status_of(waiting)["ready"]) == (False, False)
    k("exec", "slow", "--", "touch", "/tmp/started")
    started = wait_for_pod(k, "slow", lambda p: bool(status_of(p).get("started")))
    assert status_of(started)["restartCount"] == 0
    assert condition(started, "ContainersReady")["message"] == "containers with unready status: [main]"
    k("exec", "slow", "--", "touch", "/tmp/ready")
    wait_for_pod(k, "slow", is_ready)
    k("exec", "slow", "--", "rm", "/tmp/ready")
    wait_for_pod(k, "slow", lambda p: condition(p, "Ready")["status"] == "False")


def test_a_failed_startup_probe_restarts_the_container(k: Kubectl) -> None:
    probe = {"exec": {"command": ["sh", "-c", "echo not yet; exit 3"]}, "periodSeconds": 1, "failureThreshold": 2}
    apply(k, pod("never-up", container(startupProbe=probe)))
    wait_for_pod(k, "never-up", lambda p: status_of(p).get("restartCount", 0) >= 1)
    wait_for_event(k, "Unhealthy", "Startup probe failed: not yet")
    wait_for_event(k, "Killing", "Container main failed startup probe, will be restarted")


WEB_SERVER = "echo ok > /www/health && exec httpd -f -p 8080 -h /www"


def test_liveness_over_http_restarts_with_the_grace_of_the_probe(k: Kubectl) -> None:
    probe = {
        "httpGet": {"path": "/health", "port": "web", "httpHeaders": [{"name": "Host", "value": "x"}]},
        "periodSeconds": 1,
        "failureThreshold": 2,
        "terminationGracePeriodSeconds": 1,
    }
    server = container(WEB_SERVER, ports=[{"name": "web", "containerPort": 8080}], livenessProbe=probe)
    apply(k, pod("web", server, terminationGracePeriodSeconds=600))
    running = wait_for_pod(k, "web", is_ready)
    k("exec", "web", "--", "rm", "/www/health")
    wait_for_pod(k, "web", lambda p: status_of(p).get("restartCount") == 1 and is_ready(p), seconds=30)
    wait_for_event(k, "Unhealthy", "Liveness probe failed: HTTP probe failed with statuscode: 404")
    assert running["status"]["podIP"] == k.json("get", "pod", "web")["status"]["podIP"]
    k("delete", "pod", "web", "--grace-period=1")


def _grpc_script() -> str:
    """A server that answers its first stream as a gRPC health server does that is well."""
    headers = bytes.fromhex("88") + bytes.fromhex("5f10") + b"application/grpc"
    trailers = bytes.fromhex("400b") + b"grpc-status" + bytes.fromhex("01") + b"0"
    message = bytes.fromhex("0000000002") + bytes.fromhex("0801")

    def frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
        return len(body).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + body

    answer = (
        frame(4, 0, 0, b"")
        + frame(4, 1, 0, b"")
        + frame(1, 4, 1, headers)
        + frame(0, 0, 1, message)
        + frame(1, 5, 1, trailers)
    )
    octal = "".join(f"\\{byte:03o}" for byte in answer)
    serve = f"printf '%b' '{octal.replace(chr(92), chr(92) + '0')}'; cat > /dev/null"
    return f"printf '%s' {json.dumps(serve)} > /tmp/serve; exec nc -ll -p 5000 -e sh /tmp/serve"


def test_readiness_over_tcp_and_grpc(k: Kubectl) -> None:
    apply(
        k,
        pod(
            "tcp",
            container(
                "while [ ! -e /tmp/go ]; do sleep 0.1; done; exec nc -ll -p 5000 -e cat",
                readinessProbe={"tcpSocket": {"port": 5000}, "periodSeconds": 1},
            ),
        ),
        pod("grpc", container(_grpc_script(), readinessProbe={"grpc": {"port": 5000}, "periodSeconds": 1})),
    )
    wait_for_event(k, "Unhealthy", ":5000: connect: connection refused")
    assert not is_ready(k.json("get", "pod", "tcp"))
    k("exec", "tcp", "--", "touch", "/tmp/go")
    wait_for_pod(k, "tcp", is_ready)
    wait_for_pod(k, "grpc", is_ready)


def test_hooks_run_after_the_start_and_before_the_stop(k: Kubectl, tmp_path: Path) -> None:
    volume, mount = shared(tmp_path)
    lifecycle = {
        "postStart": {"exec": {"command": ["sh", "-c", "echo post-start >> /log/log"]}},
        "preStop": {"exec": {"command": ["sh", "-c", "echo pre-stop >> /log/log; sleep 1; echo done >> /log/log"]}},
    }
    script = "trap 'echo term >> /log/log; exit 0' TERM; while :; do sleep 1000 & wait $!; done"
    apply(
        k,
        pod(
            "hooked",
            container(script, lifecycle=lifecycle, volumeMounts=[mount]),
            volumes=[volume],
            terminationGracePeriodSeconds=20,
        ),
    )
    wait_for_pod(k, "hooked", is_ready)
    assert lines_of(tmp_path) == ["post-start"]
    k("delete", "pod", "hooked", "--wait=true")
    assert lines_of(tmp_path) == ["post-start", "pre-stop", "done", "term"]


def test_containers_choose_the_signal_that_stops_them(k: Kubectl, tmp_path: Path) -> None:
    volume, mount = shared(tmp_path)
    script = "trap 'echo usr1 >> /log/log; exit 0' USR1; trap '' TERM; while :; do sleep 1000 & wait $!; done"
    main = container(script, lifecycle={"stopSignal": "SIGUSR1"}, volumeMounts=[mount])
    apply(k, pod("signalled", main, os={"name": "linux"}, volumes=[volume], terminationGracePeriodSeconds=60))
    assert status_of(wait_for_pod(k, "signalled", is_ready))["stopSignal"] == "SIGUSR1"
    k("delete", "pod", "signalled", "--wait=true", timeout=30)
    assert lines_of(tmp_path) == ["usr1"]


def test_a_failed_post_start_hook_kills_and_a_pre_stop_hook_may_use_up_the_grace(k: Kubectl) -> None:
    broken = {"postStart": {"exec": {"command": ["sh", "-c", "echo no such luck; exit 9"]}}}
    endless = {"preStop": {"exec": {"command": ["sleep", "1000"]}}}
    sleepy = {"preStop": {"sleep": {"seconds": 1}}}
    apply(
        k,
        pod("broken", container(lifecycle=broken)),
        pod("endless", container(lifecycle=endless), terminationGracePeriodSeconds=2),
        pod("sleepy", container(lifecycle=sleepy), terminationGracePeriodSeconds=600),
    )
    wait_for_event(k, "FailedPostStartHook", "PostStartHook failed")
    wait_for_pod(k, "broken", lambda p: status_of(p).get("restartCount", 0) >= 1)
    wait_for_pod(k, "endless", is_ready)
    wait_for_pod(k, "sleepy", is_ready)
    k("delete", "pod", "broken", "endless", "sleepy", "--wait=true", timeout=30)


def test_termination_messages_come_from_the_file_or_from_the_log(k: Kubectl) -> None:
    written = container("printf 'the reason' > /why; exit 4", name="written", terminationMessagePath="/why")
    logged = container("echo from the log; exit 5", name="logged", terminationMessagePolicy="FallbackToLogsOnError")
    silent = container("echo unseen; exit 6", name="silent")
    long = container("head -c 9000 /dev/zero | tr '\\0' x > /dev/termination-log", name="long")
    apply(k, pod("last-words", written, logged, silent, long, restartPolicy="Never"))
    ended = wait_for_pod(k, "last-words", has_phase("Failed"))
    told = {name: status_of(ended, name)["state"]["terminated"] for name in ("written", "logged", "silent", "long")}
    assert (told["written"]["message"], told["written"]["exitCode"]) == ("the reason", 4)
    assert told["logged"]["message"].strip() == "from the log"
    assert "message" not in told["silent"]
    assert len(told["long"]["message"]) == 12 * 1024 // 4


def test_a_pod_past_its_deadline_fails(k: Kubectl) -> None:
    apply(k, pod("late", activeDeadlineSeconds=2))
    ended = wait_for_pod(k, "late", has_phase("Failed"), seconds=30)
    assert ended["status"]["reason"] == "DeadlineExceeded"
    assert "running" not in status_of(ended)["state"]
    assert condition(ended, "Ready")["reason"] == "PodFailed"


def test_readiness_gates_hold_back_the_pod(k: Kubectl) -> None:
    apply(k, pod("gated", readinessGates=[{"conditionType": "example.com/gate"}]))
    held = wait_for_pod(k, "gated", lambda p: condition(p, "ContainersReady").get("status") == "True")
    assert condition(held, "Ready")["status"] == "False"
    assert condition(held, "Ready")["reason"] == "ReadinessGatesNotReady"
    patch = {"status": {"conditions": [{"type": "example.com/gate", "status": "True"}]}}
    k("patch", "pod", "gated", "--subresource=status", "-p", json.dumps(patch))
    ready = wait_for_pod(k, "gated", is_ready)
    assert condition(ready, "example.com/gate")["status"] == "True"


def test_restart_policies_and_rules(k: Kubectl) -> None:
    twice = "n=$(cat /log/$NAME 2>/dev/null || echo 0); echo $((n+1)) > /log/$NAME; [ $n -ge 1 ]"
    volumes = [{"name": "log", "emptyDir": {}}]
    mount = {"name": "log", "mountPath": "/log"}

    def counting(script: str, name: str = "main", **fields: Any) -> dict[str, Any]:
        env = [{"name": "NAME", "value": name}]
        return container(script, name=name, volumeMounts=[mount], env=env, **fields)

    apply(
        k,
        pod("on-failure", counting(twice), restartPolicy="OnFailure", volumes=volumes),
        pod("never-good", container("exit 0"), restartPolicy="Never"),
        pod("never-bad", container("exit 1"), container("exit 0", name="other"), restartPolicy="Never"),
    )
    done = wait_for_pod(k, "on-failure", has_phase("Succeeded", "Failed"))
    assert (done["status"]["phase"], status_of(done)["restartCount"]) == ("Succeeded", 1)
    assert k("get", "pod", "on-failure", "--no-headers").split()[1:3] == ["0/1", "Completed"]
    wait_for_pod(k, "never-good", has_phase("Succeeded"))
    bad = wait_for_pod(k, "never-bad", has_phase("Failed"))
    assert {status_of(bad, n)["state"]["terminated"]["exitCode"] for n in ("main", "other")} == {0, 1}
    assert status_of(bad)["restartCount"] == 0


def test_the_exit_of_one_container_restarts_all(k: Kubectl) -> None:
    rule = {"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [42]}}
    volumes, mounts = [{"name": "work", "emptyDir": {}}], [{"name": "work", "mountPath": "/work"}]
    script = "[ -e /work/done ] && exec sleep 1000; touch /work/done; exit 42"
    apply(
        k,
        pod(
            "restarted",
            container(script, volumeMounts=mounts, restartPolicy="Never", restartPolicyRules=[rule]),
            container(name="other"),
            initContainers=[container("exit 0", name="init"), container(name="side", restartPolicy="Always")],
            volumes=volumes,
            restartPolicy="Never",
        ),
    )

    names = ("init", "side", "main", "other")
    running = wait_for_pod(
        k, "restarted", lambda p: is_running(p) and all(status_of(p, n).get("restartCount") == 1 for n in names)
    )
    assert all(status_of(running, n)["lastState"]["terminated"] for n in names)
    assert status_of(running)["lastState"]["terminated"]["exitCode"] == 42
    assert condition(running, "AllContainersRestarting")["status"] == "False"
    wait_for_event(k, "Killing", "Container main exited with code 42, triggering pod restart")


def test_a_process_namespace_can_be_shared(k: Kubectl) -> None:
    seen = "while [ $(ps | grep -c '[s]leep 1234') -lt 1 ]; do sleep 0.1; done; ps"
    other = container("sleep 1234", name="other")
    log_name = "sharing"
    apply(k, pod(log_name, container(seen + "; touch /tmp/done; " + WAIT), other, shareProcessNamespace=True))
    wait_for_pod(k, log_name, is_running)
    output = k("exec", log_name, "-c", "main", "--", "sh", "-c", "ps; cat /proc/1/comm")
    assert "sleep 1234" in output
    assert output.split()[-1] == "pause"
    apply(k, pod("apart", container(), other))
    wait_for_pod(k, "apart", is_running)
    assert "sleep 1234" not in k("exec", "apart", "-c", "main", "--", "ps")


def test_the_namespaces_of_the_machine(k: Kubectl) -> None:
    apply(k, pod("host", hostPID=True, hostIPC=True, hostNetwork=True))
    running = wait_for_pod(k, "host", is_ready)
    assert running["status"]["podIP"] == running["status"]["hostIP"]
    for kind in ("pid", "ipc"):
        inside = k("exec", "host", "--", "readlink", f"/proc/self/ns/{kind}").strip()
        assert inside == Path(f"/proc/self/ns/{kind}").readlink().as_posix(), kind
    apply(k, pod("own"))
    wait_for_pod(k, "own", is_ready)
    for kind in ("pid", "ipc", "net"):
        inside = k("exec", "own", "--", "readlink", f"/proc/self/ns/{kind}").strip()
        assert inside != Path(f"/proc/self/ns/{kind}").readlink().as_posix(), kind


def test_names_of_a_pod_in_its_network(k: Kubectl) -> None:
    script = "hostname; cat /etc/hosts; echo --; cat /etc/resolv.conf; echo --; cat /etc/hostname"
    manifest = pod(
        "named",
        container(script),
        hostname="web-0",
        subdomain="sub",
        hostAliases=[{"ip": "192.0.2.7", "hostnames": ["one.example", "two.example"]}],
        dnsPolicy="None",
        dnsConfig={
            "nameservers": ["192.0.2.53"],
            "searches": ["my.example"],
            "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}],
        },
    )
    hosts, resolver, hostname = output_of(k, manifest).split("--\n")
    ip = k.json("get", "pod", "named")["status"]["podIP"]
    assert hosts.startswith("web-0\n")
    assert f"{ip}\tweb-0.sub.{k.namespace}.svc.cluster.local\tweb-0" in hosts
    assert "192.0.2.7\tone.example\ttwo.example" in hosts
    assert resolver == "search my.example\nnameserver 192.0.2.53\noptions ndots:2 edns0\n"
    assert hostname == "web-0\n"
    full = pod("full", container("hostname"), hostname="h", subdomain="sub", setHostnameAsFQDN=True)
    assert output_of(k, full) == f"h.sub.{k.namespace}.svc.cluster.local\n"


def test_an_ephemeral_container_joins_the_processes_of_its_target(k: Kubectl) -> None:
    apply(k, pod("debugged", container("sleep 4321"), container(name="other")))
    wait_for_pod(k, "debugged", is_ready)
    k(
        "debug", "debugged", "--image=orchestrator.test/busybox:1", "--image-pull-policy=Never",
        "--target=main", "--container=eph", "--", "sh", "-c", "ps; hostname; " + WAIT,
    )  # fmt: skip
    running = wait_for_pod(k, "debugged", lambda p: "running" in status_of(p, "eph").get("state", {}))
    assert is_ready(running)
    k("exec", "debugged", "-c", "eph", "--", "sh", "-c", "ps | grep -q '[s]leep 4321'")
    docker("kill", status_of(running, "eph")["containerID"].removeprefix("docker://"))
    ended = wait_for_pod(k, "debugged", lambda p: "terminated" in status_of(p, "eph").get("state", {}))
    assert status_of(ended, "eph")["restartCount"] == 0
    assert is_ready(ended)


def test_resources_are_resized_in_place(k: Kubectl) -> None:
    resources = {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"cpu": "100m", "memory": "32Mi"}}
    policy = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]
    apply(
        k,
        pod("sized", container(resources=resources)),
        pod("restarted", container(resources=resources, resizePolicy=policy)),
        pod("huge", container(resources=resources)),
    )
    before = status_of(wait_for_pod(k, "sized", is_ready))
    for name in ("restarted", "huge"):
        wait_for_pod(k, name, is_ready)

    def resize(name: str, cpu: str, memory: str) -> None:
        wanted = {"requests": {"cpu": cpu, "memory": "16Mi"}, "limits": {"cpu": cpu, "memory": memory}}
        patch = {"spec": {"containers": [{"name": "main", "resources": wanted}]}}
        k("patch", "pod", name, "--subresource=resize", "-p", json.dumps(patch))

    def is_resized(memory: str) -> Any:
        return lambda p: (
            status_of(p).get("resources", {}).get("limits", {}).get("memory") == memory
            and not condition(p, "PodResizeInProgress")
            and not condition(p, "PodResizePending")
        )

    resize("sized", "200m", "64Mi")
    after = status_of(wait_for_pod(k, "sized", is_resized("64Mi")))
    assert after["containerID"] == before["containerID"]
    assert after["restartCount"] == 0
    assert after["allocatedResources"]["cpu"] == "200m"
    host = json.loads(docker("inspect", after["containerID"].removeprefix("docker://")))[0]["HostConfig"]
    assert (host["Memory"], host["CpuQuota"]) == (64 << 20, 20_000)
    resize("restarted", "200m", "64Mi")
    again = status_of(
        wait_for_pod(k, "restarted", lambda p: is_resized("64Mi")(p) and status_of(p)["restartCount"] == 1)
    )
    assert again["containerID"] != before["containerID"]
    huge = {"requests": {"cpu": "1000"}, "limits": {"cpu": "1000"}}
    patch = json.dumps({"spec": {"containers": [{"name": "main", "resources": huge}]}})
    refused = k.run("patch", "pod", "huge", "--subresource=resize", "-p", patch)
    assert "node didn't have enough allocatable resources: cpu, requested: 1000000" in refused.stderr
    assert status_of(k.json("get", "pod", "huge"))["resources"]["limits"]["cpu"] == "100m"


def test_containers_without_limits_are_resized_and_get_some(k: Kubectl) -> None:
    sizes: dict[str, tuple[Any, Any]] = {
        "plain": ({"requests": {"cpu": "2m"}}, {"requests": {"cpu": "4m"}}),
        "quota": ({"requests": {"cpu": "20m"}}, {"requests": {"cpu": "25m"}, "limits": {"cpu": "35m"}}),
        "memory": (
            {"requests": {"memory": "35Mi"}},
            {"requests": {"memory": "30Mi"}, "limits": {"memory": "50Mi"}},
        ),
    }
    apply(k, pod("open", *(container(name=name, resources=before) for name, (before, _) in sizes.items())))
    wait_for_pod(k, "open", is_ready)
    wanted = [{"name": name, "resources": after} for name, (_, after) in sizes.items()]
    k("patch", "pod", "open", "--subresource=resize", "-p", json.dumps({"spec": {"containers": wanted}}))
    resized = wait_for_pod(
        k,
        "open",
        lambda p: (
            all(status_of(p, name)["resources"] == after for name, (_, after) in sizes.items())
            and not condition(p, "PodResizeInProgress")
        ),
    )
    limits = {}
    for name in sizes:
        assert status_of(resized, name)["restartCount"] == 0
        inspected = json.loads(docker("inspect", status_of(resized, name)["containerID"].removeprefix("docker://")))
        host = inspected[0]["HostConfig"]
        limits[name] = (host["CpuShares"], host["CpuQuota"] > 0, host["Memory"])
    assert limits == {"plain": (4, False, 0), "quota": (25, True, 0), "memory": (2, False, 50 << 20)}


def test_a_changed_image_restarts_only_that_container(k: Kubectl) -> None:
    apply(k, pod("changing", container(), container(name="other")))
    before = wait_for_pod(k, "changing", is_ready)
    k("set", "image", "pod/changing", "main=orchestrator.test/web:1")

    def is_changed(p: Pod) -> bool:
        return status_of(p)["restartCount"] == 1 and is_ready(p) and status_of(p)["image"].endswith("web:1")

    after = wait_for_pod(k, "changing", is_changed)
    assert status_of(after, "other")["containerID"] == status_of(before, "other")["containerID"]
    wait_for_event(k, "Killing", "Container main definition changed, will be restarted")


def test_environment_of_every_source(k: Kubectl) -> None:
    k("create", "configmap", "settings", "--from-literal=A=from-map", "--from-literal=B=b")
    k("create", "secret", "generic", "keys", "--from-literal=S=from-secret")
    main = container(
        "env | sort",
        envFrom=[
            {"configMapRef": {"name": "settings"}},
            {"prefix": "P_", "secretRef": {"name": "keys"}},
            {"configMapRef": {"name": "nowhere", "optional": True}},
        ],
        env=[
            {"name": "B", "value": "own"},
            {"name": "C", "value": "$(A)-$(B)-$$(A)-$(NONE)"},
            {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
            {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}},
            {"name": "OPTIONAL", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "none", "optional": True}}},
        ],
        resources={"limits": {"cpu": "250m", "memory": "32Mi"}},
    )
    manifest = pod("environment", main)
    manifest["metadata"]["labels"] = {"app": "web"}
    shown = dict(line.split("=", 1) for line in output_of(k, manifest).splitlines())
    status = k.json("get", "pod", "environment")
    assert shown["A"] == "from-map"
    assert shown["B"] == "own"
    assert shown["C"] == "from-map-own-$(A)-$(NONE)"
    assert shown["P_S"] == "from-secret"
    assert shown["POD"] == "environment"
    assert shown["IP"] == status["status"]["podIP"]
    assert shown["NODE"] == status["spec"]["nodeName"]
    assert shown["LABEL"] == "web"
    assert shown["CPU"] == "250"
    assert "OPTIONAL" not in shown
    assert shown["KUBERNETES_SERVICE_HOST"]
    assert shown["HOSTNAME"] == "environment"


def test_variables_come_out_of_a_file_of_another_container(k: Kubectl) -> None:
    mount = {"name": "v", "mountPath": "/v"}

    def variable(name: str, **more: Any) -> dict[str, Any]:
        return {"name": name, "valueFrom": {"fileKeyRef": {"volumeName": "v", "path": "env", "key": name, **more}}}

    writer = container("echo \"A='from a file'\" > /v/env", name="writer", volumeMounts=[mount])
    reader = container("echo $A-${B:-unset}", env=[variable("A"), variable("B", optional=True)])
    volumes: list[dict[str, Any]] = [{"name": "v", "emptyDir": {}}]
    assert output_of(k, pod("reader", reader, initContainers=[writer], volumes=volumes)) == "from a file-unset\n"
    apply(k, pod("missing", container(env=[variable("C")]), initContainers=[writer], volumes=volumes))
    wait_for_pod(k, "missing", lambda p: waiting_reason(p) == "CreateContainerConfigError")


def test_a_program_that_does_not_exist_is_a_start_error(k: Kubectl) -> None:
    broken = {**container(), "command": ["/no/such/program"]}
    apply(k, pod("never", broken, restartPolicy="Never"), pod("always", broken))
    ended = status_of(wait_for_pod(k, "never", has_phase("Failed")))["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"], ended["startedAt"]) == (128, "StartError", "1970-01-01T00:00:00Z")
    assert "/no/such/program" in ended["message"]
    waiting = wait_for_pod(k, "always", lambda p: waiting_reason(p) in ("RunContainerError", "CrashLoopBackOff"))
    assert status_of(waiting)["lastState"]["terminated"]["reason"] == "StartError"
    wait_for_event(k, "Failed", "/no/such/program")
