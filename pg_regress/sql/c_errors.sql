-- An error in a migration arrives complete: SQLSTATE, detail, hint, names, context, caret.
\set VERBOSITY verbose
\set SHOW_CONTEXT always
\c - alice
SELECT runbook.submit('{"revision": "e001", "parents": ["5e55"], "message": "violates", "downgrade": "",
    "upgrade": "-- comment\nINSERT INTO orders (id) VALUES (1);\n\n/* another\n   one */\nINSERT INTO orders (id) VALUES (1);"}');
SELECT runbook.submit('{"revision": "e002", "parents": ["5e55"], "message": "misspelt", "downgrade": "",
    "upgrade": "SELECT 1;\nSELECT ''ä'',\n       nosuch\n  FROM orders;"}');
SELECT runbook.submit('{"revision": "e003", "parents": ["5e55"], "message": "raises", "downgrade": "",
    "upgrade": "DO $$ BEGIN RAISE EXCEPTION USING MESSAGE = ''stop'', DETAIL = ''why'', HINT = ''do this'', ERRCODE = ''P1234''; END $$;"}');
SELECT runbook.submit('{"revision": "e004", "parents": ["5e55"], "transaction": false, "message": "not in a function", "downgrade": "",
    "upgrade": "CREATE INDEX CONCURRENTLY ON orders (note);"}');
SELECT runbook.submit('{"revision": "e005", "parents": ["5e55"], "message": "switches", "downgrade": "",
    "upgrade": "SELECT set_config(''role'', ''postgres'', false);"}');
SELECT runbook.submit('{"revision": "e006", "parents": ["5e55"], "message": "nested", "downgrade": "",
    "upgrade": "SELECT runbook.upgrade(''head'');"}');
SELECT runbook.submit('{"revision": "e007", "parents": ["5e55"], "message": "fails verification", "downgrade": "",
    "upgrade": "SELECT 1;", "verify": "SELECT 1;\nSELECT 1/0;"}');
SELECT runbook.submit('{"revision": "e008", "parents": ["5e55"], "message": "deferred", "downgrade": "",
    "upgrade": "CREATE TABLE child (id int REFERENCES orders DEFERRABLE INITIALLY DEFERRED); INSERT INTO child VALUES (99);"}');
SELECT runbook.submit('{"revision": "e009", "parents": ["5e55"], "message": "copies", "downgrade": "", "upgrade": "COPY orders FROM STDIN;"}');
\c - app
\set VERBOSITY default
\set SHOW_CONTEXT always
SELECT runbook.upgrade('e001');
\echo :LAST_ERROR_SQLSTATE
SELECT runbook.upgrade('e002');
SELECT runbook.upgrade('e003');
\echo :LAST_ERROR_SQLSTATE
SELECT runbook.upgrade('e004');
SELECT runbook.upgrade('e005');
SELECT runbook.upgrade('e006');
SELECT runbook.upgrade('e007');
SELECT runbook.upgrade('e008');
SELECT runbook.upgrade('e009');
-- A swallowed error leaves a usable session.
DO $$ BEGIN PERFORM runbook.upgrade('e001'); EXCEPTION WHEN unique_violation THEN RAISE NOTICE 'swallowed %', SQLERRM; END $$;
SELECT revision FROM runbook.current();
