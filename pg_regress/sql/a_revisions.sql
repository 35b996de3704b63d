-- Authors submit, everybody with a role looks.
\c - alice
SELECT runbook.submit('{
    "revision": "1c0ffee00aa1",
    "message": "create orders",
    "upgrade": "CREATE TABLE orders (id int PRIMARY KEY, old text);",
    "downgrade": "DROP TABLE orders;"
}');
SELECT runbook.submit('{
    "revision": "3f2a9c1b7d04",
    "parents": ["1c0ffee00aa1"],
    "message": "add orders.note",
    "upgrade": "ALTER TABLE orders ADD COLUMN note text;",
    "downgrade": "ALTER TABLE orders DROP COLUMN note;",
    "verify": "SELECT note FROM orders LIMIT 0;"
}');
-- The same content again changes nothing.
SELECT runbook.submit('{"revision": "3f2a9c1b7d04", "parents": ["1c0ffee00aa1"], "message": "other words",
    "upgrade": "ALTER TABLE orders ADD COLUMN note text;", "downgrade": "ALTER TABLE orders DROP COLUMN note;",
    "verify": "SELECT note FROM orders LIMIT 0;"}');
SELECT revision, parents, phase, message, author, status FROM runbook.revisions;
SELECT * FROM runbook.heads();
SELECT * FROM runbook.current();
SELECT step, direction, revision, phase, needs FROM runbook.plan();
SELECT revision, status, is_head FROM runbook.history();
SELECT runbook.show('3f2a') -> 'upgrade_actions' AS upgrade, runbook.show('3f2a') -> 'downgrade_actions' AS downgrade;

-- What can't be submitted.
SELECT runbook.submit('[]');
SELECT runbook.submit('{"revision": "a-b", "upgrade": ""}');
SELECT runbook.submit('{"revision": "head", "upgrade": ""}');
SELECT runbook.submit('{"revision": "x1", "upgrade": "", "reviewer": "me"}');
SELECT runbook.submit('{"revision": "x1", "upgrade": "", "parents": ["nobody"]}');
SELECT runbook.submit('{"revision": "x1", "upgrade": "", "depends_on": ["nobody"]}');
SELECT runbook.submit('{"revision": "x1", "upgrade": "", "parents": ["x1"]}');
SELECT runbook.submit('{"revision": "x1", "upgrade": "", "branch_labels": ["3f2a9c1b7d04"]}');
SELECT runbook.submit('{"revision": "x1", "upgrade": "BEGIN; SELECT 1;"}');
SELECT runbook.submit('{"revision": "x1", "upgrade": "-- as somebody else\nSET ROLE postgres;"}');
SELECT runbook.submit('{"revision": "x1", "upgrade": "SELECT ''größe'';\n\nALTER TABEL x;"}');
-- A cycle needs two submissions.
SELECT runbook.submit('{"revision": "c001", "upgrade": "", "downgrade": ""}');
SELECT runbook.submit('{"revision": "c002", "parents": ["c001"], "upgrade": "", "downgrade": ""}');
SELECT runbook.submit('{"revision": "c001", "parents": ["c002"], "upgrade": "", "downgrade": ""}');
-- Two heads.
SELECT * FROM runbook.plan('head');
SELECT * FROM runbook.plan('nothing');
SELECT * FROM runbook.plan('c00');
SELECT revision FROM runbook.plan('heads');
SELECT count(*) AS refused_ones_left_nothing FROM runbook.revisions WHERE revision IN ('x1', 'a-b', 'head');
