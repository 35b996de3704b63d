-- Four eyes.
\c - alice
SELECT runbook.submit('{"revision": "d001", "parents": ["5e55"], "message": "drop orders.old",
    "upgrade": "ALTER TABLE orders DROP COLUMN old;", "downgrade": "ALTER TABLE orders ADD COLUMN old text;"}');
\c - app
SELECT step, revision, phase, needs FROM runbook.plan('d001');
SELECT runbook.upgrade('d001');
\c - alice
SELECT runbook.approve('d001');
\c - bob
SELECT length(runbook.approve('d001', 'nobody reads it since May'));
\c - alice
-- Other content voids the approval, and says so.
SELECT runbook.submit('{"revision": "d001", "parents": ["5e55"], "message": "drop orders.old and note",
    "upgrade": "ALTER TABLE orders DROP COLUMN old, DROP COLUMN note;", "downgrade": null}');
SELECT revision, decision, approver, counts, void_reason FROM runbook.approvals;
\c - app
SELECT runbook.upgrade('d001');
\c - bob
SELECT length(runbook.reject('d001', 'too much'));
SELECT status FROM runbook.revisions WHERE revision = 'd001';
SELECT runbook.revoke('d001');
SELECT runbook.revoke('d001');
\c - postgres
SET ROLE app_owner;
CREATE TYPE mood AS ENUM ('ok');
ALTER TABLE orders ADD COLUMN mood mood;
\c - alice
-- What the revision says is what it may do: a DO block and a cascade are not in the manifest.
SELECT runbook.submit('{"revision": "d001", "parents": ["5e55"], "message": "sneaky", "downgrade": "",
    "upgrade": "ALTER TABLE orders DROP COLUMN old; DO $$ BEGIN EXECUTE ''ALTER TABLE orders DROP COLUMN note''; END $$;"}');
SELECT runbook.submit('{"revision": "d002", "parents": ["5e55"], "message": "cascade", "downgrade": "",
    "upgrade": "DROP TYPE mood CASCADE;"}');
SELECT runbook.submit('{"revision": "d003", "parents": ["5e55"], "message": "honest",
    "upgrade": "ALTER TABLE orders DROP COLUMN old;", "downgrade": "ALTER TABLE orders ADD COLUMN old text;"}');
\c - bob
SELECT count(runbook.approve(id)) FROM unnest(ARRAY['d001', 'd002', 'd003']) AS id;
\c - app
SELECT runbook.upgrade('d001');
SELECT runbook.upgrade('d002');
SELECT runbook.upgrade('d003');
SELECT runbook.downgrade('5e55');
-- The way back of an additive revision destroys, and needs the approval too.
SELECT needs FROM runbook.plan('3f2a', 'downgrade');
SELECT needs FROM runbook.plan('1c0f', 'downgrade');
SELECT runbook.downgrade('1c0f');
\c - bob
SELECT length(runbook.approve('3f2a')), length(runbook.approve('5e55'));
\c - app
SELECT runbook.downgrade('1c0f');
-- No way back.
\c - alice
SELECT runbook.submit('{"revision": "f001", "parents": ["1c0ffee00aa1"], "upgrade": "SELECT 1", "downgrade": null, "irreversible_reason": "mail was sent"}');
\c - app
SELECT runbook.upgrade('f001');
SELECT runbook.downgrade('-1');
