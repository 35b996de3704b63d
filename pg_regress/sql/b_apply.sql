-- An application role that owns nothing migrates a schema that the migration role owns.
\c - app
SELECT runbook.upgrade('3f2a9c1b7d04');
SELECT runbook.upgrade('3f2a9c1b7d04');
SELECT tableowner FROM pg_tables WHERE tablename = 'orders';
SELECT * FROM orders;
SELECT runbook.require('3f2a');
SELECT runbook.require('c002');
SELECT revision, is_head, message FROM runbook.current();
SELECT runbook.downgrade('-1');
SELECT revision, status FROM runbook.revisions WHERE revision ~ '^(1c|3f)';
SELECT runbook.upgrade('+1');
SELECT runbook.downgrade('1c0ffee00aa1');
SELECT runbook.upgrade('c002');
SELECT revision, is_head FROM runbook.current();
SELECT runbook.downgrade('-1');
SELECT runbook.upgrade('3f2a-1');
SELECT runbook.upgrade('head');
SELECT runbook.downgrade('c002@base');
SELECT runbook.stamp('3f2a');
SELECT revision FROM runbook.current();
SELECT runbook.stamp('1c0f');
SELECT runbook.upgrade('3f2a');
-- An applied revision doesn't change.
\c - alice
SELECT runbook.submit('{"revision": "3f2a9c1b7d04", "parents": ["1c0ffee00aa1"], "upgrade": "SELECT 2", "downgrade": ""}');
-- Sessions are pinned, and nothing that a revision SETs stays.
SELECT runbook.submit('{"revision": "5e55", "parents": ["3f2a9c1b7d04"], "downgrade": "",
    "upgrade": "CREATE TABLE who AS SELECT current_user::text AS cur, session_user::text AS ses, current_setting(''DateStyle'') AS d; SET work_mem = ''3MB''; SET search_path = pg_catalog;"}');
\c - app
SET DateStyle = 'German';
SET search_path = pg_temp;
SELECT runbook.upgrade('5e55');
SHOW DateStyle;
SHOW search_path;
SHOW work_mem;
\c - postgres
SELECT * FROM who;
