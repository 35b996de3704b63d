-- The tables of the runbook. Nobody but the extension's owner may touch them; everybody else goes through functions
-- and views. No table has an identity or a sequence, and no row is created by installation, so that pg_restore can
-- load a dump into a fresh extension without a conflict.

-- The OID of a role, a database or another object. A column of type oid itself is taken for the number of a large object by vacuumlo, which
-- then wants to read it.
CREATE DOMAIN runbook.object_number AS oid;
COMMENT ON DOMAIN runbook.object_number IS 'The OID of an object that is not a large object.';

CREATE TABLE runbook.revision (
    revision text NOT NULL,
    ordinal bigint NOT NULL,
    parents text[] NOT NULL,
    depends_on text[] NOT NULL,
    branch_labels text[] NOT NULL,
    message text NOT NULL,
    phase text NOT NULL,
    author text NOT NULL,
    digest text NOT NULL,
    source text NOT NULL,
    upgrade_actions jsonb NOT NULL,
    downgrade_actions jsonb NOT NULL,
    status text NOT NULL,
    submitted_by text NOT NULL,
    submitter runbook.object_number NOT NULL,
    submitter_identities oid[] NOT NULL,
    submitted_at timestamptz NOT NULL,
    applied_at timestamptz,
    reverted_at timestamptz,
    CONSTRAINT revision_pkey PRIMARY KEY (revision),
    CONSTRAINT revision_phase_known CHECK (phase IN ('expand', 'migrate', 'contract')),
    CONSTRAINT revision_status_known CHECK (status IN ('pending', 'approved', 'rejected', 'applied', 'reverted', 'withdrawn'))
) WITH (fillfactor = 70);
CREATE INDEX revision_ordinal_idx ON runbook.revision (ordinal);
-- What an upgrade has to look at, however many revisions are applied.
CREATE INDEX revision_open_idx ON runbook.revision (ordinal) WHERE status NOT IN ('applied', 'withdrawn');
CREATE INDEX revision_dependent_idx ON runbook.revision (ordinal) WHERE depends_on <> '{}';
COMMENT ON TABLE runbook.revision IS 'Submitted revisions. "source" is the whole revision as canonical JSON. The digest covers all of it that changes what the revision means: not message, author and irreversible_reason.';

CREATE TABLE runbook.branch_label (
    label text NOT NULL,
    revision text NOT NULL,
    CONSTRAINT branch_label_pkey PRIMARY KEY (label)
);
CREATE INDEX branch_label_revision_idx ON runbook.branch_label (revision);
COMMENT ON TABLE runbook.branch_label IS 'Names of branches, and the revision at which each branch starts.';

CREATE TABLE runbook.applied_head (
    revision text NOT NULL,
    CONSTRAINT applied_head_pkey PRIMARY KEY (revision)
);
COMMENT ON TABLE runbook.applied_head IS 'Where this database stands: applied revisions that no other applied revision builds upon.';

CREATE TABLE runbook.graph_version (
    only_row boolean NOT NULL DEFAULT true,
    graph_token uuid NOT NULL,
    CONSTRAINT graph_version_pkey PRIMARY KEY (only_row),
    CONSTRAINT graph_version_has_one_row CHECK (only_row)
);
COMMENT ON TABLE runbook.graph_version IS 'Marks changes of the revision graph. Every transaction that changes it writes a new random token, so that sessions know when to read the graph again. The token of a change that was rolled back never returns.';

CREATE TABLE runbook.setting (
    key text NOT NULL,
    value text NOT NULL,
    CONSTRAINT setting_pkey PRIMARY KEY (key)
);
COMMENT ON TABLE runbook.setting IS 'Settings that configure(key, value) has set.';

CREATE TABLE runbook.policy_rule (
    class text NOT NULL,
    objects text NOT NULL DEFAULT '',
    verdict text NOT NULL,
    approvals integer NOT NULL,
    approver_role text,
    CONSTRAINT policy_rule_pkey PRIMARY KEY (class, objects),
    CONSTRAINT policy_rule_class_known
        CHECK (class IN ('additive', 'blocking', 'breaking', 'security', 'control', 'destructive')),
    CONSTRAINT policy_rule_verdict_known CHECK (verdict IN ('allow', 'record', 'require_approval', 'deny')),
    CONSTRAINT policy_rule_approvals_sane CHECK (approvals BETWEEN 0 AND 100)
);
COMMENT ON TABLE runbook.policy_rule IS 'Rules that set_policy() has set on top of the environment''s preset. An empty "objects" means all objects of the class.';

CREATE TABLE runbook.maintenance_window (
    name text NOT NULL,
    classes text[] NOT NULL,
    days text NOT NULL,
    opens time NOT NULL,
    closes time NOT NULL,
    time_zone text NOT NULL,
    CONSTRAINT maintenance_window_pkey PRIMARY KEY (name)
);
COMMENT ON TABLE runbook.maintenance_window IS 'Weekly times in which actions of some classes may run, in local time of the zone. "days" are the days on which the window opens.';

CREATE TABLE runbook.activation (
    only_row boolean NOT NULL DEFAULT true,
    system_identifier text NOT NULL,
    database_oid runbook.object_number NOT NULL,
    activated_by text NOT NULL,
    activated_at timestamptz NOT NULL,
    CONSTRAINT activation_pkey PRIMARY KEY (only_row),
    CONSTRAINT activation_has_one_row CHECK (only_row)
);
COMMENT ON TABLE runbook.activation IS 'The database that the guard was activated for. A restored or copied database is another one, and its guard is inert.';

CREATE TABLE runbook.approval (
    approval_id uuid NOT NULL,
    revision text NOT NULL,
    digest text NOT NULL,
    decision text NOT NULL,
    approver text NOT NULL,
    approver_oid runbook.object_number NOT NULL,
    identities oid[] NOT NULL,
    comment text,
    system_identifier text NOT NULL,
    database_oid runbook.object_number NOT NULL,
    decided_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    upgrade_manifest jsonb NOT NULL,
    downgrade_manifest jsonb NOT NULL,
    fingerprint text,
    void_reason text,
    upgrade_code jsonb NOT NULL,
    downgrade_code jsonb NOT NULL,
    binds boolean NOT NULL,
    used_for text[] NOT NULL DEFAULT '{}',
    CONSTRAINT approval_pkey PRIMARY KEY (approval_id),
    CONSTRAINT approval_decision_known CHECK (decision IN ('approved', 'rejected'))
);
CREATE INDEX approval_revision_idx ON runbook.approval (revision);
-- Whether it matters which code revisions change is asked by each of them.
CREATE INDEX approval_binding_idx ON runbook.approval (expires_at) WHERE binds AND void_reason IS NULL;
COMMENT ON TABLE runbook.approval IS 'Decisions on revision digests. A decision that was replaced, revoked or made void keeps its row, and "void_reason" says why. "identities" are the login roles that the approver was or could become. "upgrade_code" and "downgrade_code" are the code that the approved statements reach, by hash; "binds" says whether the statements run any code. "used_for" has the directions for which it has been used: it counts once for each.';

CREATE TABLE runbook.code_change (
    classid runbook.object_number NOT NULL,
    objid runbook.object_number NOT NULL,
    before text,
    after text,
    revision text NOT NULL,
    direction text NOT NULL,
    made_at timestamptz NOT NULL,
    reached text,
    CONSTRAINT code_change_direction_known CHECK (direction IN ('upgrade', 'downgrade'))
);
CREATE INDEX code_change_made_at_idx ON runbook.code_change (made_at);
COMMENT ON TABLE runbook.code_change IS 'Code as revisions found it and left it while approvals were open: its hash before and after, NULL where it did not exist. An approval also covers code that these changes lead to from the approved code. "reached" is the code that the revision itself could run, in the first row of a run: what an approver could not know makes no change that he covers.';

CREATE TABLE runbook.object_change (
    classid runbook.object_number NOT NULL,
    objid runbook.object_number NOT NULL,
    objsubid integer NOT NULL,
    revision text NOT NULL,
    direction text NOT NULL,
    path text[] NOT NULL,
    created boolean NOT NULL,
    tied boolean NOT NULL,
    approved boolean NOT NULL,
    made_at timestamptz NOT NULL,
    CONSTRAINT object_change_direction_known CHECK (direction IN ('upgrade', 'downgrade'))
);
CREATE INDEX object_change_object_idx ON runbook.object_change (objid, classid);
COMMENT ON TABLE runbook.object_change IS 'Objects and columns that revisions created at "path", or brought there by a declared rename or move. An object that was missing when a revision was approved is covered only if it is listed here.';

CREATE TABLE runbook.permit (
    permit text NOT NULL,
    statement text NOT NULL,
    digest text NOT NULL,
    manifest jsonb NOT NULL,
    resolution text[] NOT NULL,
    parameters jsonb NOT NULL,
    reason text NOT NULL,
    requested_by text NOT NULL,
    requester runbook.object_number NOT NULL,
    identities oid[] NOT NULL,
    requested_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    system_identifier text NOT NULL,
    database_oid runbook.object_number NOT NULL,
    used_at timestamptz,
    void_reason text,
    CONSTRAINT permit_pkey PRIMARY KEY (permit)
);
CREATE INDEX permit_digest_idx ON runbook.permit (digest);
CREATE INDEX permit_open_idx ON runbook.permit (expires_at) WHERE used_at IS NULL AND void_reason IS NULL;
COMMENT ON TABLE runbook.permit IS 'Requests to run one statement once. "digest" is the digest of the statement in its normal form, "resolution" the schemas that were searched for its names, "parameters" the parameters under which its text was read.';

CREATE TABLE runbook.permit_decision (
    permit text NOT NULL,
    decision text NOT NULL,
    approver text NOT NULL,
    approver_oid runbook.object_number NOT NULL,
    identities oid[] NOT NULL,
    comment text,
    decided_at timestamptz NOT NULL,
    code jsonb NOT NULL,
    versions jsonb NOT NULL,
    CONSTRAINT permit_decision_pkey PRIMARY KEY (permit, approver_oid),
    CONSTRAINT permit_decision_known CHECK (decision IN ('approved', 'rejected'))
);
COMMENT ON TABLE runbook.permit_decision IS 'Approvals and rejections of permits, with the code that the statement reached at that time, by hash. "versions" are the transactions that had written it.';

-- An entry is written here, in the transaction that it describes; the sealer moves it to runbook.entry. DDL waits for no index, and
-- sessions that commit at once do not meet at the end of one.
CREATE TABLE runbook.unsealed (
    entry_id uuid NOT NULL,
    recorded_at timestamptz NOT NULL,
    kind text NOT NULL,
    payload text NOT NULL,
    leaf_hash bytea NOT NULL
);
-- Without an index a publication of all tables would keep the sealer from moving rows.
ALTER TABLE runbook.unsealed REPLICA IDENTITY FULL;
COMMENT ON TABLE runbook.unsealed IS 'Entries of the ledger that have no position yet. "payload" is canonical JSON (RFC 8785) and exactly what leaf_hash = SHA-256(0x00 || payload) covers.';

CREATE TABLE runbook.entry (
    position bigint NOT NULL,
    epoch integer NOT NULL,
    entry_id uuid NOT NULL,
    recorded_at timestamptz NOT NULL,
    kind text NOT NULL,
    payload text NOT NULL,
    leaf_hash bytea NOT NULL,
    CONSTRAINT entry_pkey PRIMARY KEY (position),
    CONSTRAINT entry_id_once UNIQUE (entry_id)
);
COMMENT ON TABLE runbook.entry IS 'The sealed ledger: entries at their positions in the Merkle tree. Positions count from 0 without a gap; archiving removes the oldest entries.';

-- The inner nodes of the Merkle tree, 256 to a row. Only whole tiles are kept, so that no row ever changes.
CREATE TABLE runbook.tile (
    level smallint NOT NULL,
    index bigint NOT NULL,
    root bytea NOT NULL,
    hashes bytea NOT NULL,
    CONSTRAINT tile_pkey PRIMARY KEY (level, index)
);
ALTER TABLE runbook.tile ALTER COLUMN hashes SET STORAGE EXTERNAL;
COMMENT ON TABLE runbook.tile IS 'Whole tiles of the Merkle tree: 256 hashes of nodes that each cover 256^level leaves, and the root over them.';

-- Jobs: upgrades and downgrades that a worker applies, one transaction for each revision.
CREATE SEQUENCE runbook.job_number;
COMMENT ON SEQUENCE runbook.job_number IS 'Numbers of jobs.';

CREATE TABLE runbook.job (
    job bigint NOT NULL,
    direction text NOT NULL,
    target text NOT NULL,
    revisions text[] NOT NULL,
    digests text[] NOT NULL,
    state text NOT NULL,
    login runbook.object_number NOT NULL,
    login_name text NOT NULL,
    role runbook.object_number NOT NULL,
    client_addr text NOT NULL,
    application text NOT NULL,
    system_identifier text NOT NULL,
    database_oid runbook.object_number NOT NULL,
    timeline integer NOT NULL,
    requested_at timestamptz NOT NULL,
    started_at timestamptz,
    finished_at timestamptz,
    worker_pid integer,
    starts integer NOT NULL DEFAULT 0,
    idle_starts integer NOT NULL DEFAULT 0,
    note text,
    error jsonb,
    CONSTRAINT job_pkey PRIMARY KEY (job),
    CONSTRAINT job_direction_known CHECK (direction IN ('upgrade', 'downgrade')),
    CONSTRAINT job_state_known CHECK (state IN ('queued', 'running', 'pausing', 'paused', 'cancelling', 'finished', 'failed', 'cancelled', 'interrupted'))
);
CREATE INDEX job_open_idx ON runbook.job (job) WHERE state IN ('queued', 'running', 'pausing', 'cancelling');
COMMENT ON TABLE runbook.job IS 'Upgrades and downgrades that a worker applies. "role" is the role that was in force when the job was requested or last resumed; "idle_starts" counts the last workers that made no progress; "timeline" is that of the server when it was requested or last resumed.';

CREATE TABLE runbook.job_step (
    job bigint NOT NULL,
    step integer NOT NULL,
    revision text NOT NULL,
    started_at timestamptz NOT NULL,
    finished_at timestamptz NOT NULL,
    CONSTRAINT job_step_pkey PRIMARY KEY (job, step)
);
COMMENT ON TABLE runbook.job_step IS 'Revisions that jobs have applied or reverted.';

-- Progress of revisions that are not one transaction. It belongs to the revision, so that another job goes on where one ended.
CREATE TABLE runbook.statement_progress (
    revision text NOT NULL,
    direction text NOT NULL,
    statement integer NOT NULL,
    digest text NOT NULL,
    done boolean NOT NULL,
    before oid[] NOT NULL,
    started_at timestamptz NOT NULL,
    statements integer NOT NULL,
    CONSTRAINT statement_progress_pkey PRIMARY KEY (revision, direction, statement)
);
COMMENT ON TABLE runbook.statement_progress IS 'Statements of revisions with "transaction: off" that have begun or are done, by the hash of their text. "before" holds the objects that a statement was to replace or remove, "statements" how many the section has.';

-- Written without a statement, in the transaction that creates the index; hence no index of its own.
CREATE TABLE runbook.built_relation (
    revision text NOT NULL,
    direction text NOT NULL,
    statement integer NOT NULL,
    object runbook.object_number NOT NULL
);
-- It has no key, and a publication of all tables must not keep us from deleting.
ALTER TABLE runbook.built_relation REPLICA IDENTITY FULL;
COMMENT ON TABLE runbook.built_relation IS 'Relations that statements of revisions with "transaction: off" have created. They show what an interrupted statement has left behind.';

CREATE TABLE runbook.backfill (
    revision text NOT NULL,
    digest text NOT NULL,
    last_key text[],
    pass integer NOT NULL,
    rows_done bigint NOT NULL,
    batches bigint NOT NULL,
    batch_rows bigint NOT NULL,
    estimated_rows bigint NOT NULL,
    started_at timestamptz NOT NULL,
    busy interval NOT NULL,
    place text,
    files oid[],
    shape text,
    CONSTRAINT backfill_pkey PRIMARY KEY (revision)
);
COMMENT ON TABLE runbook.backfill IS 'Progress of backfills: the last key whose batch is committed, and the files of the table at that time in the database "place".';

-- pg_dump carries the rows of all of them.
SELECT pg_catalog.pg_extension_config_dump('runbook.revision', '');
SELECT pg_catalog.pg_extension_config_dump('runbook.branch_label', '');
SELECT pg_catalog.pg_extension_config_dump('runbook.applied_head', '');
SELECT pg_catalog.pg_extension_config_dump('runbook.graph_version', '');
SELECT pg_catalog.pg_extension_config_dump('runbook.setting', '');
SELECT pg_catalog.pg_extension_config_dump('runbook.policy_rule', '');
SELECT pg_catalog.pg_extension_config_dump('runbook.maintenance_window', '');
SELECT pg_catalog.pg_extension_config_dump('runbook.object_change', '');
SELECT pg_catalog.pg_extension_config_dump('runbook.code_change', '');
SELECT pg_catalog.pg_extension_config_dump('runbook.permit', '');
SELECT pg_catalog.pg_extension_config_dump('runbook.permit_decision', '');
SELECT pg_catalog.pg_extension_config_dump('runbook.activation', '');
SELECT pg_catalog.pg_extension_config_dump('runbook.approval', '');
SELECT pg_catalog.pg_extension_config_dump('runbook.unsealed', '');
SELECT pg_catalog.pg_extension_config_dump('runbook.entry', '');
SELECT pg_catalog.pg_extension_config_dump('runbook.tile', '');
SELECT pg_catalog.pg_extension_config_dump('runbook.job_number', '');
SELECT pg_catalog.pg_extension_config_dump('runbook.job', '');
SELECT pg_catalog.pg_extension_config_dump('runbook.job_step', '');
-- OIDs mean nothing in another database: a statement that has only begun begins anew there.
SELECT pg_catalog.pg_extension_config_dump('runbook.statement_progress', 'WHERE done');
SELECT pg_catalog.pg_extension_config_dump('runbook.backfill', '');
