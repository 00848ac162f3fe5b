#!/usr/bin/env bash
# What `make setup` does: .venv with the project and all extras, a reachable Docker Engine, the test images.
#
#   setup.sh python    only .venv
#   setup.sh           everything
#
# Idempotent: what is there already is left alone. Every line it prints is something it does or could
# not do. build/setup/environment tells later commands which Engine was found.
set -euo pipefail
cd "$(dirname "$0")/../.."

ENGINE_PACKAGES=(docker.io iptables nftables iproute2 busybox-static)
ENGINE_START_SECONDS=60
state=build/setup

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$@" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
is_root() { [ "$(id -u)" = 0 ]; }
has_apt() { have apt-get && have dpkg; }

apt_is_fresh=
apt_install() {
    say "installing from this system's package sources: $*"
    if [ -z "$apt_is_fresh" ]; then
        apt-get update -qq >>"$state/apt.log" 2>&1 ||
            say "apt-get update failed (see $state/apt.log); trying with the package lists that are there"
        apt_is_fresh=yes
    fi
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >>"$state/apt.log" 2>&1 || {
        tail -n 15 "$state/apt.log" >&2
        fail "apt-get could not install: $*" "the whole output is in $state/apt.log"
    }
}

# --- Python ------------------------------------------------------------------------------------------

is_usable_python() { "$1" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} python3 python3.14 python3.13 python3.12 python3.11 /usr/bin/python3; do
        if have "$candidate" && is_usable_python "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

# The stamp holds what the installation depends on: where it is, and what it was made from.
python_stamp() { pwd; cat pyproject.toml; }

setup_python() {
    if [ -x .venv/bin/python ] && python_stamp | cmp -s - .venv/setup-stamp; then
        compile_python
        return
    fi
    local python
    if ! python=$(find_python); then
        if is_root && has_apt; then
            apt_install python3 python3-venv
            python=$(find_python) || fail "Python 3.11 or newer is needed, and $(python3 --version 2>&1) is what this system has" \
                "install a newer one and run: make setup PYTHON=/path/to/python3"
        else
            fail "Python 3.11 or newer with the modules venv and ensurepip is needed and was not found" \
                "install it (Debian, Ubuntu: apt-get install python3 python3-venv) or run: make setup PYTHON=/path/to/python3"
        fi
    fi
    # Made anew unless it is this folder's own: a copied environment points to where it came from.
    if [ "$(head -n 1 .venv/setup-stamp 2>/dev/null)" != "$(pwd)" ] || [ ! -x .venv/bin/python ]; then
        say "making .venv with $("$python" --version)"
        rm -rf .venv
        "$python" -m venv .venv
    fi
    rm -f .venv/setup-stamp
    say "installing the project and its development tools into .venv"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -e '.[dev]' ||
        fail "pip could not install the project (see above); is a package index reachable?"
    compile_python
    { pwd; cat pyproject.toml; } >.venv/setup-stamp
}

# Start-up is a feature: compiled files are made here, also where PYTHONDONTWRITEBYTECODE keeps imports from
# making them. Only what changed is compiled.
compile_python() { .venv/bin/python -m compileall -q orchestrator; }

# --- Docker Engine -----------------------------------------------------------------------------------

engine() { .venv/bin/python -m tests.setup.engine 2>"$state/engine.why"; }

install_missing_tools() {
    # The network of the nodes needs these beside an Engine, and the images are made from busybox.
    local missing=() pair
    for pair in nft:nftables ip:iproute2 iptables:iptables; do
        PATH="$PATH:/usr/sbin:/sbin" have "${pair%%:*}" || missing+=("${pair##*:}")
    done
    dpkg -s busybox-static >/dev/null 2>&1 || missing+=(busybox-static)
    [ ${#missing[@]} = 0 ] || apt_install "${missing[@]}"
}

# Without root a Debian package can still be fetched and unpacked.
fetch_busybox() {
    [ -z "${BUSYBOX:-}" ] || return 0
    [ -x "$state/busybox-static/bin/busybox" ] && return 0
    dpkg -s busybox-static >/dev/null 2>&1 && return 0
    say "fetching the package busybox-static into $state (not installing it)"
    (cd "$state" && apt-get download -qq busybox-static >>apt.log 2>&1 &&
        dpkg-deb -x busybox-static_*.deb busybox-static) || say "could not fetch busybox-static (see $state/apt.log)"
}

# A minimal system may run without an init that mounts the cgroup hierarchies.
mount_cgroups() {
    [ -d /sys/fs/cgroup ] || return 0
    if [ -e /sys/fs/cgroup/cgroup.controllers ] || grep -qs ' cgroup.*[ ,]memory' /proc/mounts; then
        return 0
    fi
    say "mounting the cgroup hierarchy at /sys/fs/cgroup"
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
}

dockerd_log() {
    if [ -w /var/log ]; then echo /var/log/orchestrator-dockerd.log; else echo "$PWD/build/dockerd.log"; fi
}

start_dockerd() {
    local log waited=0 pid
    if [ -d /run/systemd/system ]; then
        say "starting the service docker"
        systemctl start docker || fail "systemctl start docker failed; see: journalctl -u docker"
        engine >/dev/null && return 0
    fi
    log=$(dockerd_log)
    # A pid file that survived a reboot may name some other process by now; dockerd would refuse to start.
    if [ -e /var/run/docker.pid ] && [ "$(cat "/proc/$(cat /var/run/docker.pid)/comm" 2>/dev/null)" != dockerd ]; then
        rm -f /var/run/docker.pid
    fi
    mount_cgroups
    say "starting dockerd (log: $log)"
    PATH="$PATH:/usr/sbin:/sbin" setsid dockerd >>"$log" 2>&1 </dev/null 9>&- &
    pid=$!
    until engine >/dev/null; do
        if ! kill -0 "$pid" 2>/dev/null || [ "$waited" -ge $((ENGINE_START_SECONDS * 5)) ]; then
            tail -n 15 "$log" >&2
            fail "dockerd does not answer; the end of its log is above, all of it is in $log"
        fi
        sleep 0.2
        waited=$((waited + 1))
    done
}

explain_missing_engine() {
    local why
    why=$(cat "$state/engine.why")
    if [ -n "${DOCKER_HOST:-}" ]; then
        fail "DOCKER_HOST=$DOCKER_HOST is set, and no Docker Engine answers there: $why"
    fi
    case $why in
    *"Permission denied"*)
        fail "a Docker Engine is here, but $(id -un) may not use it: $why" \
            "either join its group (sudo usermod -aG docker $(id -un), then log in again) or run as root"
        ;;
    esac
    is_root || fail "no Docker Engine answers ($why), and installing one takes root" \
        "start Docker, or set DOCKER_HOST, or run as root on Debian or Ubuntu: make setup"
    has_apt || fail "no Docker Engine answers ($why), and this is no Debian or Ubuntu that one could be installed on" \
        "install and start Docker, or set DOCKER_HOST, and run again: make setup"
}

setup_engine() {
    local found
    if ! found=$(engine); then
        [ -z "${DOCKER_HOST:-}" ] && is_root && has_apt || explain_missing_engine
        case $(cat "$state/engine.why") in *"Permission denied"*) explain_missing_engine ;; esac
        say "no Docker Engine answers: $(cat "$state/engine.why")"
        if ! PATH="$PATH:/usr/sbin:/sbin" have dockerd; then
            # Where the kernel enforces AppArmor, dockerd loads its profile with this package's parser.
            grep -qs Y /sys/module/apparmor/parameters/enabled && ENGINE_PACKAGES+=(apparmor)
            apt_install "${ENGINE_PACKAGES[@]}"
        fi
        # Installing may have started the service already.
        engine >/dev/null || start_dockerd
        found=$(engine) || explain_missing_engine
        say "Docker Engine ${found##* } answers at ${found%% *}"
    fi
    if is_root && has_apt; then
        install_missing_tools
    elif has_apt; then
        fetch_busybox
    fi
    printf 'export DOCKER_HOST=%q\n' "${found%% *}" >"$state/environment"
}

note_missing_kubectl() {
    have kubectl || say "kubectl is not installed: the tests that drive it will be skipped (https://kubernetes.io/docs/tasks/tools/)"
}

mkdir -p "$state"
# Two runs at once (make -j, two terminals) must not build the same environment.
if have flock; then
    exec 9>"$state/lock"
    flock 9
fi
setup_python
[ "${1:-}" = python ] && exit
setup_engine
.venv/bin/python -m tests.setup.images
note_missing_kubectl
