#!/usr/bin/env bash
# Copies a built package into the directories of a PostgreSQL installation. The library is put in place in one step: writing over it would
# crash servers that have it loaded, and a session that starts meanwhile would load half of it.
set -euo pipefail
package=$1 pg_config=$2
library="$("$pg_config" --pkglibdir)" extension="$("$pg_config" --sharedir)/extension"
rm -f "$extension"/pg_runbook--*.sql
cp "$package$library/pg_runbook.so" "$library/pg_runbook.so.new"
chmod 644 "$library/pg_runbook.so.new"
mv -f "$library/pg_runbook.so.new" "$library/pg_runbook.so"
cp "$package$extension"/pg_runbook.control "$package$extension"/pg_runbook--*.sql "$extension/"
chmod 644 "$extension"/pg_runbook.control "$extension"/pg_runbook--*.sql
