//! An Alembic project with everything that an importer can get wrong: branches, a merge, labels, dependencies, literals,
//! an autocommit block, rows that are read, a downgrade that fails, a migration that looks at the catalog.
#![allow(clippy::unwrap_used, missing_docs, reason = "a panic is how a test fails")]

use runbook_tests::{Server, python, succeed};
use std::fs;
use std::path::Path;

const ENV: &str = "
from alembic import context
from sqlalchemy import create_engine
with create_engine(context.config.get_main_option('sqlalchemy.url')).connect() as connection:
    context.configure(connection=connection, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
";

const VERSIONS: [(&str, &str); 6] = [
    (
        "root",
        r#"
'''create users'''
from alembic import op
import sqlalchemy as sa
revision, down_revision, branch_labels, depends_on = 'aaaa01', None, None, None
def upgrade():
    users = op.create_table('users', sa.Column('id', sa.Integer, primary_key=True), sa.Column('name', sa.String(50)))
    op.bulk_insert(users, [{'id': 1, 'name': "O'Neil 100%"}, {'id': 2, 'name': 'back\\slash'}])
def downgrade():
    op.drop_table('users')
"#,
    ),
    (
        "left",
        r#"
'''add note if it is missing'''
from alembic import op
import sqlalchemy as sa
revision, down_revision, branch_labels, depends_on = 'bbbb01', 'aaaa01', ('notes',), None
def upgrade():
    if 'note' not in [c['name'] for c in sa.inspect(op.get_bind()).get_columns('users')]:
        op.add_column('users', sa.Column('note', sa.Text))
def downgrade():
    op.drop_column('users', 'note')
"#,
    ),
    (
        "right",
        r#"
'''concurrent index'''
from alembic import op
revision, down_revision, branch_labels, depends_on = 'cccc01', 'aaaa01', None, None
def upgrade():
    with op.get_context().autocommit_block():
        op.create_index('users_name', 'users', ['name'], postgresql_concurrently=True)
def downgrade():
    raise NotImplementedError('the index is needed')
"#,
    ),
    (
        "merge",
        "'''join'''\nrevision, down_revision, branch_labels, depends_on = 'dddd01', ('bbbb01', 'cccc01'), None, None\n\
         def upgrade():\n    pass\ndef downgrade():\n    pass\n",
    ),
    (
        "data",
        r#"
'''shout'''
from alembic import op
import sqlalchemy as sa
revision, down_revision, branch_labels, depends_on = 'eeee01', 'dddd01', None, None
def upgrade():
    for row in op.get_bind().execute(sa.text('SELECT id, name FROM users')).fetchall():
        op.get_bind().execute(sa.text('UPDATE users SET name = :name WHERE id = :id'), {'id': row.id, 'name': row.name.upper()})
def downgrade():
    pass
"#,
    ),
    (
        "other_base",
        "'''another base'''\nfrom alembic import op\nrevision, down_revision, branch_labels, depends_on = 'ffff01', None, ('audit',), 'bbbb01'\n\
         def upgrade():\n    op.execute('CREATE TABLE audit (id int)')\ndef downgrade():\n    op.execute('DROP TABLE audit')\n",
    ),
];

fn project(directory: &Path) {
    fs::create_dir_all(directory.join("migrations/versions")).unwrap();
    fs::write(directory.join("alembic.ini"), "[alembic]\nscript_location = migrations\n").unwrap();
    fs::write(directory.join("migrations/env.py"), ENV).unwrap();
    for (name, text) in VERSIONS {
        fs::write(directory.join(format!("migrations/versions/{name}.py")), text.trim_start()).unwrap();
    }
}

#[test]
fn a_project_with_everything_arrives_whole_and_what_could_not_be_done_is_said() {
    let server = Server::start();
    let mut admin = server.database("app");
    admin.batch_execute("SELECT runbook.configure('migration_role', NULL)").unwrap();
    let directory = tempfile::tempdir().unwrap();
    project(directory.path());
    let python = python().display().to_string();
    let output =
        succeed(server.runbook("postgres", "postgres", directory.path()).args(["import", "alembic", "--python", &python]));
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(report.contains("imported 6 revisions"), "{report}");
    assert!(
        report.contains("cccc01: no way back: the downgrade fails under Alembic: NotImplementedError: the index is needed"),
        "{report}"
    );
    assert!(report.contains("eeee01: read rows"), "{report}");
    assert!(report.contains("cccc01: has statements outside a transaction"), "{report}");

    let file = |start: &str| {
        let entries = fs::read_dir(directory.path().join("revisions")).unwrap().map(|entry| entry.unwrap().path());
        let path = entries.into_iter().find(|path| path.file_name().unwrap().to_string_lossy().starts_with(start)).unwrap();
        fs::read_to_string(path).unwrap()
    };
    assert!(file("aaaa01").contains("'O''Neil 100%'"), "{}", file("aaaa01"));
    assert!(file("bbbb01").contains("-- branch_label: notes") && !file("bbbb01").contains("pg_catalog"), "{}", file("bbbb01"));
    assert!(file("dddd01").contains("-- parents: bbbb01, cccc01"), "{}", file("dddd01"));
    assert!(file("ffff01").contains("-- depends_on: bbbb01"), "{}", file("ffff01"));
    assert!(file("eeee01").contains("CHECK") && file("eeee01").contains("SELECT id, name FROM users"), "{}", file("eeee01"));

    succeed(server.runbook("app", "alice", directory.path()).arg("submit"));
    let applied: Vec<String> = admin.query_one("SELECT runbook.upgrade('ffff01')", &[]).unwrap().get(0);
    assert_eq!(applied, ["aaaa01", "bbbb01", "ffff01"]);
    let names: Vec<String> =
        admin.query("SELECT name FROM users ORDER BY id", &[]).unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(names, ["O'Neil 100%", "back\\slash"]);
    let left: i64 =
        admin.query_one("SELECT count(*) FROM pg_database WHERE datname LIKE 'runbook_import%'", &[]).unwrap().get(0);
    assert_eq!(left, 0, "the scratch database is gone");
}

#[test]
fn an_environment_that_connects_elsewhere_is_stopped_before_it_runs() {
    let server = Server::start();
    let mut admin = server.database("app");
    let directory = tempfile::tempdir().unwrap();
    project(directory.path());
    fs::write(
        directory.path().join("migrations/env.py"),
        ENV.replace("context.config.get_main_option('sqlalchemy.url')", "'postgresql+psycopg2:///app'"),
    )
    .unwrap();
    let python = python().display().to_string();
    let output = server
        .runbook("postgres", "postgres", directory.path())
        .args(["import", "alembic", "--python", &python])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("connects to database app"), "{stderr}");
    let tables: i64 =
        admin.query_one("SELECT count(*) FROM pg_class WHERE relname IN ('users', 'alembic_version')", &[]).unwrap().get(0);
    assert_eq!(tables, 0);
}
