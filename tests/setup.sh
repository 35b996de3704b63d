#!/usr/bin/env bash
# Installs whatever is missing to build and test on Debian 12: packages, cargo-pgrx at its pinned version, and, with
# --python, a virtual environment with the peers that the tests compare with. Says what it does; does nothing twice.
set -euo pipefail
cd "$(dirname "$0")/.."
unset RUST_BACKTRACE

PG_MAJOR=${PG_MAJOR:-15}
PGRX=$(sed -n 's/^pgrx = "=\(.*\)"/\1/p' extension/Cargo.toml)
sudo=(); [ "$(id -u)" = 0 ] || sudo=(sudo)
say() { printf '\033[1m==> %s\033[0m\n' "$*"; }

command -v cargo >/dev/null || { echo "A Rust toolchain is needed: cargo is not on the PATH."; exit 1; }

missing=()
for package in "postgresql-$PG_MAJOR" "postgresql-server-dev-$PG_MAJOR" libclang-dev clang gcc make pkg-config libssl-dev git bzip2; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
python=python3
if [ "${1:-}" = --python ] && ! { command -v python3 >/dev/null && python3 -c 'import ensurepip, venv' 2>/dev/null; }; then
    missing+=(python3 python3-venv)
    python=/usr/bin/python3
fi
if [ ${#missing[@]} -gt 0 ]; then
    say "installing Debian packages: ${missing[*]}"
    "${sudo[@]}" apt-get update -q
    DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -y -q --no-install-recommends "${missing[@]}"
fi

# Extensions that the tests look at the library beside; where one can't be had, its test says so.
if [ "${1:-}" = --python ]; then
    beside=()
    # sqlsmith sends random queries; pgbouncer is the pooler that the command is tried behind. The last two are the other implementation that checkpoints and proofs are checked with.
    for package in "postgresql-$PG_MAJOR-pgaudit" "postgresql-$PG_MAJOR-cron" "postgresql-$PG_MAJOR-plpgsql-check" sqlsmith pgbouncer \
        golang-go golang-golang-x-mod-dev; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || beside+=("$package")
    done
    if [ ${#beside[@]} -gt 0 ]; then
        say "installing Debian packages: ${beside[*]}"
        "${sudo[@]}" apt-get update -q || true
        for package in "${beside[@]}"; do
            DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -y -q --no-install-recommends "$package" \
                || say "$package can't be had here"
        done
    fi
fi

if [ "$(cargo pgrx --version 2>/dev/null | awk '{print $2}')" != "$PGRX" ]; then
    say "installing cargo-pgrx $PGRX (a few minutes, once)"
    (cd / && cargo install --quiet cargo-pgrx --version "$PGRX" --locked)
fi
config="${PGRX_HOME:-$HOME/.pgrx}/config.toml"
pg_config="/usr/lib/postgresql/$PG_MAJOR/bin/pg_config"
if ! grep -q "^pg$PG_MAJOR *=" "$config" 2>/dev/null; then
    say "telling cargo-pgrx about PostgreSQL $PG_MAJOR"
    # As an ordinary user it would also make a cluster of its own, which nobody here uses.
    mkdir -p "$(dirname "$config")"
    [ -s "$config" ] || printf '[configs]\n' > "$config"
    printf 'pg%s = "%s"\n' "$PG_MAJOR" "$pg_config" >> "$config"
fi

if [ "${1:-}" = --python ]; then
    venv=target/venv
    wanted=$(cat tests/requirements.txt)
    if [ "$(cat "$venv/requirements.installed" 2>/dev/null)" != "$wanted" ]; then
        say "installing from PyPI: $(echo $wanted)"
        "$python" -m venv "$venv"
        "$venv/bin/pip" install --quiet --disable-pip-version-check -r tests/requirements.txt
        printf '%s\n' "$wanted" > "$venv/requirements.installed"
    fi
fi
