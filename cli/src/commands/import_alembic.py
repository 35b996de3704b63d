"""Runs every migration of an Alembic environment on an empty database, and prints what it sent.

Each upgrade runs on the scratch database; each downgrade on a clone of it, so that a downgrade that fails, or that is no
real way back, leaves no trace.

Owns: the recording. One JSON object a line on standard output, prefixed by "runbook-import ". Statements are taken where
they leave SQLAlchemy (before_cursor_execute), with parameters rendered as literals by the driver itself. Left out: what
Alembic does to its own table, and reads of the system catalogs (a migration that looks at the database was right to
look: the scratch database stands exactly where a real one would).
"""

import functools
import importlib
import json
import os
import re
import sys

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationStep
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, event
from sqlalchemy.engine import Engine
from sqlalchemy.pool import NullPool

CATALOG = re.compile(r"\b(pg_catalog|information_schema|pg_[a-z_]+)\b", re.I)
VERSION_TABLE = re.compile(r"\balembic_version\b", re.I)
CHATTER = re.compile(r"^\s*(show\b|select\s+(pg_catalog\.)?(version|current_schema|current_database)\s*\(|select\s+1\s*$|begin\b|commit\b|rollback\b|savepoint\b|release\b)", re.I)


class Recorder:
    """Collects statements while `active`."""

    def __init__(self, databases):
        self.databases = databases
        self.start()
        self.active = False

    def start(self):
        self.statements, self.reads, self.autocommit, self.active = [], [], False, True

    def stop(self):
        self.active = False
        return self.statements

    def hear(self, connection, cursor, statement, parameters, context, executemany):
        database = connection.connection.dbapi_connection.info.dbname
        if database not in self.databases:
            raise SystemExit("env.py connects to database %s, not to the one that Alembic's sqlalchemy.url names: nothing was run there" % database)
        if not self.active:
            return
        # SQLAlchemy may have merged many rows into one statement already.
        for one in parameters if executemany and isinstance(parameters, (list, tuple)) else [parameters]:
            sql = literal(cursor, statement, one)
            if CHATTER.match(sql) or VERSION_TABLE.search(sql):
                continue
            if re.match(r"\s*(select|with)\b", sql, re.I) and not re.search(r"\b(insert|update|delete)\b", sql, re.I):
                if not CATALOG.search(sql):
                    self.reads.append(sql)
                continue
            if getattr(connection.connection.dbapi_connection, "autocommit", False):
                self.autocommit = True
            self.statements.append(sql)


def literal(cursor, statement, parameters):
    """The statement as the driver would send it."""
    if hasattr(cursor, "mogrify"):
        sent = cursor.mogrify(statement, parameters or None)
        return sent.decode() if isinstance(sent, bytes) else sent
    if not parameters:
        return statement
    import psycopg

    return psycopg.ClientCursor(cursor.connection).mogrify(statement, parameters)


def sqlalchemy_url(server, database):
    """The scratch database as SQLAlchemy spells it: libpq reads its own PG* variables for what is left out.

    The server is a URL, or a mapping of libpq's options.
    """
    from urllib.parse import parse_qsl, urlencode, urlsplit

    driver = "postgresql+psycopg2"
    try:
        import psycopg2  # noqa: F401
    except ImportError:
        driver = "postgresql+psycopg"
    if "://" in server:
        parts = urlsplit(server)
        query = dict(parse_qsl(parts.query))
        authority = parts.netloc
        if "%2F" in authority or "%2f" in authority:  # a socket directory in the place of a host
            user, _, host = authority.rpartition("@")
            query["host"] = host.split(":")[0].replace("%2F", "/").replace("%2f", "/")
            if ":" in host:
                query["port"] = host.split(":")[1]
            authority = user + "@" if user else ""
    else:
        query = dict(server)
        authority = ""
        for key in ("dbname",):
            query.pop(key, None)
    query.pop("dbname", None)
    return f"{driver}://{authority}/{database}" + ("?" + urlencode(query) if query else "")


def main():
    # Not by the arguments, which everybody can read; and not for the project's own processes.
    settings = json.loads(os.environ.pop("RUNBOOK_IMPORT_SETTINGS"))
    scratch, clone = settings["database"], settings["database"] + "_back"
    url = sqlalchemy_url(settings["server"], scratch)
    config = Config(settings["ini"] if os.path.exists(settings["ini"]) else None)
    if settings["script_location"]:
        config.set_main_option("script_location", settings["script_location"])
    scripts = ScriptDirectory.from_config(config)
    admin = create_engine(sqlalchemy_url(settings["server"], "postgres"), isolation_level="AUTOCOMMIT", poolclass=NullPool)
    recorder = Recorder({scratch, clone, "postgres"})
    event.listen(Engine, "before_cursor_execute", recorder.hear)

    def run(statement):
        with admin.connect() as connection:
            connection.exec_driver_sql(statement)

    def step(script, up, database):
        """One step of one revision, through the project's own env.py; returns what it sent."""
        target = sqlalchemy_url(settings["server"], database)
        config.set_main_option("sqlalchemy.url", target.replace("%", "%%"))
        os.environ["DATABASE_URL"] = target
        make = MigrationStep.upgrade_from_script if up else MigrationStep.downgrade_from_script
        recorder.start()
        try:
            with EnvironmentContext(config, scripts, fn=lambda *_: [make(scripts.revision_map, script)], destination_rev=script.revision):
                scripts.run_env()
        finally:
            recorder.stop()
        return recorder.statements

    def back(script):
        """The downgrade on a clone: its statements, why it has none, and what else to say."""
        run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '%s' AND pid <> pg_backend_pid()" % scratch)
        run("CREATE DATABASE %s TEMPLATE %s" % (clone, scratch))
        try:
            downgrade, notes = step(script, False, clone), []
            if recorder.reads:
                notes.append("CHECK: the Python code of the downgrade read rows and may have acted on them.")
            autocommit = recorder.autocommit
            try:
                step(script, True, clone)
            except Exception as error:  # a project's code may raise anything
                notes.append("After the downgrade, the upgrade fails under Alembic too: %s" % told(error))
            return downgrade, None, notes, autocommit
        except Exception as error:  # a project's code may raise anything: that is the reason why there is no way back
            return None, "the downgrade fails under Alembic: %s" % told(error), [], False
        finally:
            run("DROP DATABASE IF EXISTS %s WITH (FORCE)" % clone)

    initial = []
    if settings["initial"]:
        module, _, path = settings["initial"].partition(":")
        sys.path.insert(0, os.getcwd())
        engine = create_engine(url, poolclass=NullPool)
        recorder.start()
        functools.reduce(getattr, path.split("."), importlib.import_module(module))(engine)
        initial = recorder.stop()

    for script in reversed(list(scripts.walk_revisions("base", "heads"))):
        upgrade = step(script, True, scratch)
        reads, autocommit = recorder.reads, recorder.autocommit
        downgrade, reason, notes, back_autocommit = back(script)
        if initial:
            notes.append("The first %d statements make what the project creates before its first revision." % len(initial))
            upgrade, initial = initial + upgrade, []
        print("runbook-import " + json.dumps({
            "revision": script.revision,
            "parents": list(script._versioned_down_revisions),
            "depends_on": list(as_tuple(script.dependencies)),
            "branch_labels": sorted(script._orig_branch_labels),
            "message": " ".join((script.doc or "").split()),
            "transaction": not (autocommit or back_autocommit),
            "upgrade": upgrade,
            "downgrade": downgrade,
            "irreversible_reason": reason,
            "reads": reads,
            "notes": notes,
        }), flush=True)


def told(error):
    """An exception on one line."""
    return "%s: %s" % (type(error).__name__, " ".join(str(error).split())[:300])


def as_tuple(value):
    """Alembic stores one, several or none."""
    return () if value is None else (value,) if isinstance(value, str) else tuple(value)


if __name__ == "__main__":
    main()
