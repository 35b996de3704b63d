#!/usr/bin/env bash
# Copies a built package into the directories of a PostgreSQL installation. The library is unlinked first: writing over
# it in place would crash servers that have it loaded.
set -euo pipefail
package=$1 pg_config=$2
library="$("$pg_config" --pkglibdir)" extension="$("$pg_config" --sharedir)/extension"
rm -f "$library/pg_runbook.so" "$extension"/pg_runbook--*.sql
cp "$package$library/pg_runbook.so" "$library/"
cp "$package$extension"/pg_runbook.control "$package$extension"/pg_runbook--*.sql "$extension/"
chmod 644 "$library/pg_runbook.so" "$extension"/pg_runbook.control "$extension"/pg_runbook--*.sql
