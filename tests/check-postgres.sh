#!/usr/bin/env bash
# PostgreSQL's own regression and isolation suites, on the same binaries without us and with us: the library preloaded, the guard
# active in record mode. Every output is compared byte for byte; what may differ stands, line by line and reviewed, in
# tests/check-postgres.expected. The sources come from Debian's source package; where that can't be had, says so loudly and
# ends with status 77.
set -euo pipefail
cd "$(dirname "$0")/.."
unset RUST_BACKTRACE
root=$PWD
pg_config=${PG_CONFIG:-pg_config}
bin=$("$pg_config" --bindir)
pgxs=$(dirname "$("$pg_config" --pgxs)")/..
major=${PG_MAJOR:-15}
say() { printf '\033[1m==> %s\033[0m\n' "$*"; }
trap 'say "line $LINENO failed: $BASH_COMMAND"' ERR
server() { if [ "$(id -u)" = 0 ]; then (cd / && runuser -u postgres -- env -u RUST_BACKTRACE "$@"); else (cd / && env -u RUST_BACKTRACE "$@"); fi; }

source=$root/target/postgresql-source
if [ ! -d "$source/src/test/regress/sql" ]; then
    say "fetching the source package of postgresql-$major"
    rm -rf "$source"; mkdir -p "$source/lists/partial"
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-bookworm}")
    mirror=$({ grep -rhoE '(https?|file)://[^ ]+/debian/?$|^URIs: .*/debian/?$' /etc/apt/sources.list /etc/apt/sources.list.d/ 2>/dev/null || true; } | sed 's/^URIs: //' | head -1)
    printf 'deb-src %s %s main\n' "${mirror:-http://deb.debian.org/debian}" "$codename" > "$source/sources.list"
    options=(-q -o "Dir::Etc::sourcelist=$source/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$source/lists")
    if ! { apt-get "${options[@]}" update && cd "$source" && apt-get "${options[@]}" source --download-only "postgresql-$major"; } >"$source/log" 2>&1; then
        tail -3 "$source/log"
        say "NOT CHECKED: the source package of postgresql-$major can't be had here, so PostgreSQL's own suites were NOT run"
        exit 77
    fi
    tar xjf "$source"/postgresql-"$major"_*.orig.tar.bz2 -C "$source" --strip-components=1 --wildcards \
        '*/src/test/regress' '*/src/test/isolation' '*/contrib/spi'
    cd "$root"
fi

work=$(mktemp -d /tmp/runbook-check-XXXXXX)
cleanup() { server "$bin/pg_ctl" -D "$work/data" -m immediate stop >/dev/null 2>&1 || true; [ -n "${KEEP:-}" ] || rm -rf "$work"; }
trap cleanup EXIT
chmod 755 "$work"
cp -r "$source/src/test/regress" "$source/src/test/isolation" "$work/"
include=$("$pg_config" --includedir-server)
mkdir "$work/lib"
for file in src/test/regress/regress.c contrib/spi/refint.c contrib/spi/autoinc.c; do
    gcc -O1 -w -shared -fPIC -I"$include" -o "$work/lib/$(basename "$file" .c).so" "$source/$file"
done
[ "$(id -u)" != 0 ] || chown -R postgres "$work"

start() {
    server rm -rf "$work/data"
    server "$bin/initdb" -D "$work/data" -A trust -U postgres --no-sync -E UTF8 --locale=C >/dev/null
    server "$bin/pg_ctl" -D "$work/data" -w -l "$work/$1.log" start >/dev/null \
        -o "-c listen_addresses= -k $work -p 54331 -c fsync=off -c max_prepared_transactions=10 -c timezone=PST8PDT $2"
}
sql() { server "$bin/psql" -X -q -v ON_ERROR_STOP=1 -h "$work" -p 54331 -U postgres "$@"; }
database() {
    sql -d postgres -c "CREATE DATABASE $1 TEMPLATE template0 LOCALE 'C'" -c "ALTER DATABASE $1 SET lc_messages TO 'C'" \
        -c "ALTER DATABASE $1 SET lc_monetary TO 'C'" -c "ALTER DATABASE $1 SET lc_numeric TO 'C'" \
        -c "ALTER DATABASE $1 SET lc_time TO 'C'" -c "ALTER DATABASE $1 SET bytea_output TO 'hex'" \
        -c "ALTER DATABASE $1 SET timezone_abbreviations TO 'Default'"
    if [ "$2" = with ]; then sql -d "$1" -c 'CREATE EXTENSION pg_runbook' -c "SELECT runbook.activate()" >/dev/null; fi
}
run() { # name, extra settings
    say "running the suites $1 pg_runbook"
    start "$1" "$2"
    for suite in ${SUITES:-regress isolation}; do
        name=regression
        [ "$suite" = regress ] || name=isolation_regression
        database "$name" "$1"
        program=$pgxs/test/regress/pg_regress; schedule=$work/regress/parallel_schedule
        [ "$suite" = regress ] || { program=$pgxs/test/isolation/pg_isolation_regress; schedule=$work/isolation/isolation_schedule; }
        server mkdir -p "$work/$1/$suite"
        # Against expected files of another minor version some tests fail with and without us: outputs are compared below.
        server "$program" --use-existing --dbname="$name" --user=postgres --host="$work" --port=54331 --bindir="$bin" \
            --dlpath="$work/lib" --inputdir="$work/$suite" --outputdir="$work/$1/$suite" --schedule="$schedule" \
            --max-concurrent-tests=20 >"$work/$1-$suite.out" 2>&1 || true
        grep -E '^ *(All|[0-9]+ of) [0-9]+ tests' "$work/$1-$suite.out" || tail -5 "$work/$1-$suite.out"
    done
    if [ "$1" = with ]; then
        # The guard was really there.
        for name in regression isolation_regression; do
            entries=$(sql -d "$name" -tAc "SELECT count(*) FROM runbook.ledger")
            echo "ledger of $name: $entries entries"
            [ "$entries" -gt 50 ] || { say "the guard was not there"; exit 1; }
        done
    fi
    server "$bin/pg_ctl" -D "$work/data" -m fast -w stop >/dev/null
}
# The suites have races of their own: what differs once is compared once more.
for attempt in 1 2; do
rm -rf "$work/without" "$work/with"
run without ""
run with "-c shared_preload_libraries=pg_runbook -c runbook.mode=record"

say "comparing"
total=$(find "$work"/without/*/results -name '*.out' | wc -l)
with=$(find "$work"/with/*/results -name '*.out' | wc -l)
# OIDs depend on what was created before, and so does the order of lists that are sorted by them.
for suite in regress isolation; do
    (cd "$work" && diff -r -U0 "without/$suite/results" "with/$suite/results" || true)
done | sed -E '/^@@/d; /^---/d; s/^\+\+\+ with\/([^ \t]*).*/## \1/; /^diff /d; s/\b1[6-9][0-9]{3}\b/OID/g' | LC_ALL=C sort > "$work/difference"
echo "$total outputs without, $with with"
if [ -n "${UPDATE:-}" ]; then cp "$work/difference" tests/check-postgres.expected; fi
if diff -u tests/check-postgres.expected "$work/difference"; then break; fi
say "PostgreSQL's outputs differ from what was reviewed"
[ "$attempt" = 1 ] || exit 1
done
[ "$total" -gt 200 ] && [ "$total" = "$with" ] || { say "too few outputs: $total and $with"; exit 1; }
say "identical, apart from the reviewed lines in tests/check-postgres.expected ($(wc -l < tests/check-postgres.expected) lines)"
