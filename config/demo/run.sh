#!/usr/bin/env bash
# What `make demo` shows, with the built-in client verbs only: a cluster starts, serves config/demo/*.yaml,
# heals itself, rolls to the next version, and is removed without a trace.
set -euo pipefail
cd "$(dirname "$0")/../.."

python=.venv/bin/python
here=config/demo
work=build/demo
data=$work/data
export KUBECONFIG=$PWD/$work/kubeconfig
READY_SECONDS=60
ROLLOUT_SECONDS=120

bold='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then bold=$'\033[1m' plain=$'\033[0m'; fi
say() { printf '\n%s# %s%s\n' "$bold" "$*" "$plain"; }
fail() { printf 'demo: %s\n' "$*" >&2; exit 1; }
orchestrator() { "$python" -m orchestrator "$@"; }
# Prints a command as one would type it, then runs it.
show() { printf '$ orchestrator %s\n' "$*"; orchestrator "$@"; }
# A value out of an object: value 'pod/NAME' 'o["status"]["podIP"]'
value() { orchestrator get "$1" -o json | "$python" -c "import json, sys; o = json.load(sys.stdin); print($2)"; }
fetch() { "$python" -c 'import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=10).read().decode(), end="")' "$1"; }
# Names of the web pods that are not on their way out, oldest first.
pods() {
    orchestrator get pods -l app=web -o json | "$python" -c '
import json, sys
pods = [p["metadata"] for p in json.load(sys.stdin)["items"]]
print(*(m["name"] for m in sorted(pods, key=lambda m: m["creationTimestamp"]) if "deletionTimestamp" not in m))'
}
page_of() { fetch "http://$(value "pod/$1" 'o["status"]["podIP"]'):8080/"; }

server= cluster=
cleanup() {
    local code=$?
    trap - EXIT INT TERM
    if [ "$code" != 0 ]; then
        printf '\ndemo: failed; the last lines of %s:\n' "$work/orchestrator.log" >&2
        tail -n 25 "$work/orchestrator.log" >&2 || true
    else
        say "cleaning up: the process stops, then its containers, network rules and mounts go"
    fi
    if [ -n "$server" ] && kill -TERM "$server" 2>/dev/null; then
        wait "$server" || { code=1; echo "demo: the orchestrator ended with an error" >&2; }
    fi
    show down --data-dir "$data" || code=1
    "$python" -m tests.leftovers "$PWD/$work" ${cluster:+"$cluster"} || code=1
    [ "$code" != 0 ] || printf '\ndemo: done\n'
    exit "$code"
}

mkdir -p "$work"
if [ -d "$data" ]; then
    # An earlier demo was killed before it could clean up.
    orchestrator down --data-dir "$data"
    rm -rf "$data"
fi
rm -f "$work/ready"
mkfifo "$work/ready"
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say "starting a cluster of three nodes (log: $work/orchestrator.log)"
echo "\$ orchestrator up --nodes 3 --listen 127.0.0.1:0 --data-dir $data"
"$python" -m orchestrator up --nodes 3 --listen 127.0.0.1:0 --data-dir "$data" --kubeconfig "$KUBECONFIG" \
    >"$work/ready" 2>"$work/orchestrator.log" &
server=$!
# Held open until the end, so that the process never writes into a closed pipe.
exec 3<"$work/ready"
if ! read -r -t "$READY_SECONDS" line <&3; then
    kill -0 "$server" 2>/dev/null || fail "the orchestrator ended before it was ready"
    fail "no ready line within $READY_SECONDS s"
fi
echo "$line"
show get nodes -o wide

say "submitting $here/*.yaml: a Deployment of three replicas, a Service, a ConfigMap, a Secret"
show apply -f "$here"
show rollout status deployment/web --timeout "${ROLLOUT_SECONDS}s"
show get deployments,services,configmaps,secrets -l app=web
show get pods -l app=web -o wide

say "each replica serves on its own pod address"
for pod in $(pods); do page_of "$pod"; done
[[ $(page_of "$pod") == "web 1 on $pod"* ]] || fail "$pod did not answer with version 1 and its name"

victim=$pod
container=$(value "pod/$victim" 'o["status"]["containerStatuses"][0]["containerID"].removeprefix("docker://")')
cluster=$("$python" -m tests.setup.engine cluster "$container")
say "killing a container behind the cluster's back: $victim"
echo "\$ docker kill ${container:0:12}"
"$python" -m tests.setup.engine kill "$container"
deadline=$((SECONDS + ROLLOUT_SECONDS))
until [ "$(value "pod/$victim" '(s := o["status"]["containerStatuses"][0])["restartCount"] > 0 and s["ready"]')" = True ]; do
    [ "$SECONDS" -lt "$deadline" ] || fail "$victim was not healed within $ROLLOUT_SECONDS s"
    sleep 0.2
done
show get pods -l app=web
value "pod/$victim" '"last state: {reason}, exit code {exitCode}".format(**o["status"]["containerStatuses"][0]["lastState"]["terminated"])'
page_of "$victim"

say "rolling to version 2"
echo "\$ sed 's/web:1/web:2/' $here/deployment.yaml | orchestrator apply -f -"
sed 's/web:1/web:2/' "$here/deployment.yaml" | orchestrator apply -f -
show rollout status deployment/web --timeout "${ROLLOUT_SECONDS}s"
show rollout history deployment/web
for pod in $(pods); do page_of "$pod"; done
[[ $(page_of "$pod") == "web 2 on $pod"* ]] || fail "$pod did not answer with version 2"

say "what happened, as the cluster tells it"
show events --for deployment/web
