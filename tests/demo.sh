#!/usr/bin/env bash
# The main job on a throw-away cluster: submit, upgrade, a DROP COLUMN refused, the approved contract revision, the ledger.
# `make demo` has built and installed everything before.
set -euo pipefail
cd "$(dirname "$0")/.."
runbook=${RUNBOOK_TEST_BIN:-$PWD/target/release}/runbook
bin=$("${PG_CONFIG:-pg_config}" --bindir)
if [ -t 1 ]; then bold=$'\e[1m' cyan=$'\e[36m' red=$'\e[31m' green=$'\e[32m' off=$'\e[0m'; else bold='' cyan='' red='' green='' off=''; fi
server() { if [ "$(id -u)" = 0 ]; then (cd / && runuser -u postgres -- env -u RUST_BACKTRACE "$@"); else env -u RUST_BACKTRACE "$@"; fi; }
title() { printf '\n%s%s%s\n' "$bold" "$*" "$off"; }
explain() { printf '%s\n' "$*"; }
# Shows a command as its user would type it, and runs it. "!" in front: it is meant to fail.
show() {
    local expect=0; [ "$1" = ! ] && { expect=1; shift; }
    local user=$1; shift
    printf '%s%s$ %s%s\n' "$cyan" "$user" "$*" "$off"
    local status=0 output
    output=$(PGUSER=$user bash -c "$*" 2>&1) || status=$?
    printf '%s\n' "$output" | sed "s/^ERROR/${red}ERROR${off}/; s/^error/${red}error${off}/; s/^/    /"
    if [ "$expect" = 0 ] && [ "$status" != 0 ]; then echo "the demo failed here"; exit 1; fi
    if [ "$expect" = 1 ] && [ "$status" = 0 ]; then echo "the demo expected a refusal here"; exit 1; fi
}

work=$(mktemp -d /tmp/runbook-demo-XXXXXX)
cleanup() { server "$bin/pg_ctl" -D "$work/data" -m immediate stop >/dev/null 2>&1 || true; rm -rf "$work"; }
trap cleanup EXIT
chmod 711 "$work"; mkdir "$work/data" "$work/project"
if [ "$(id -u)" = 0 ]; then chown postgres "$work" "$work/data"; fi
server "$bin/initdb" -D "$work/data" -A trust -U postgres --no-sync -E UTF8 --locale=C.UTF-8 >/dev/null
server "$bin/pg_ctl" -D "$work/data" -w -l "$work/data/log" -o "-c listen_addresses= -k $work -p 54329" start >/dev/null
export PGHOST=$work PGPORT=54329 PGDATABASE=shop TZ=UTC
unset DATABASE_URL PGUSER RUNBOOK_ENV
export PATH="$(dirname "$runbook"):$bin:$PATH" PSQLRC=/dev/null
psql -q -U postgres -d postgres -c 'CREATE DATABASE shop'
cd "$work/project"

title "1. A DBA installs the runbook, gives out its roles, and activates the guard."
psql -q -U postgres <<'SQL'
CREATE EXTENSION pg_runbook;
CREATE ROLE shop_owner NOLOGIN;
CREATE ROLE alice LOGIN; CREATE ROLE bob LOGIN; CREATE ROLE deploy LOGIN;
GRANT runbook_author TO alice; GRANT runbook_approver TO bob; GRANT runbook_operator, runbook_auditor TO deploy;
GRANT CREATE ON SCHEMA public TO shop_owner;
SQL
show postgres "psql -Atc \"SELECT runbook.configure('migration_role', 'shop_owner')\" -c 'SELECT runbook.activate()'"
explain "alice writes revisions, bob approves them, deploy applies them; shop_owner owns the tables and can't log in."

title "2. alice writes two revisions: expand, then contract."
runbook init >/dev/null
cat > revisions/1c0ffee00aa1_create_orders.sql <<'SQL'
-- revision: 1c0ffee00aa1
-- message: create orders

-- runbook: upgrade
CREATE TABLE orders (id bigint PRIMARY KEY, customer text NOT NULL, legacy_note text);

-- runbook: downgrade
DROP TABLE orders;
SQL
cat > revisions/3f2a9c1b7d04_drop_legacy_note.sql <<'SQL'
-- revision: 3f2a9c1b7d04
-- parents: 1c0ffee00aa1
-- message: drop orders.legacy_note
-- phase: contract

-- runbook: upgrade
ALTER TABLE orders DROP COLUMN legacy_note;

-- runbook: downgrade
ALTER TABLE orders ADD COLUMN legacy_note text;
SQL
show alice "cat revisions/3f2a9c1b7d04_drop_legacy_note.sql"
show alice "runbook submit"

title "3. deploy applies what may be applied before the release: expand, and not contract. It owns nothing: revisions run as shop_owner."
show deploy "runbook upgrade"

title "4. Somebody types DROP COLUMN into psql. Even a superuser is refused, before any lock is taken."
show ! postgres "psql -c 'ALTER TABLE orders DROP COLUMN legacy_note'"

title "5. The contract revision needs a second pair of eyes."
show deploy "runbook plan"
show ! deploy "runbook upgrade --through contract"
show bob "runbook inbox"
show bob "runbook approve 3f2a -m 'nobody has read it since May'"
show deploy "runbook upgrade --through contract"

title "6. One statement, once: a permit that somebody else approves."
show postgres "psql -qc 'CREATE TABLE import_2019 (id int)'"
show postgres "runbook permit request 'DROP TABLE import_2019' -m 'loaded in 2019, never again'"
show ! postgres "psql -c 'DROP TABLE import_2019'"
show bob "runbook permit approve \$(psql -U postgres -Atc 'SELECT permit FROM runbook.permits') -m 'I looked'"
show postgres "psql -c 'drop table import_2019'"

title "7. The ledger tells the story, the refused statement included."
show deploy "psql -c \"SELECT recorded_at::time(0), kind, session_role AS who, revision, coalesce(objects -> 0 ->> 'identity', '') AS object FROM runbook.ledger\""
show deploy "runbook status"

title "8. An auditor signs what it says, and finds what somebody changes afterwards: even a superuser, with every trigger off."
show deploy "runbook audit keygen auditor.example.com --out auditor.key"
show deploy "runbook audit checkpoint --key auditor.key --out today.note"
show postgres "psql -q -c 'SET runbook.mode = off; ALTER TABLE runbook.entry DISABLE TRIGGER ALL' -c \"SET runbook.mode = off; UPDATE runbook.entry SET payload = replace(payload, 'bob', 'eve') WHERE kind = 'revision.approved'\""
show ! deploy "runbook audit verify --checkpoint today.note --key auditor.key.pub"
printf '\n%sDone.%s The cluster is removed now. Next: README.md, "First steps".\n' "$green" "$off"
