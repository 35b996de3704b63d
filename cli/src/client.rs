//! A connection to the server, on which no statement has a name.
//!
//! A pooler in transaction mode hands each transaction to whichever backend is free. A named statement, or a parameter that was set for the
//! session, would then belong to somebody else. So every query is a transaction of its own, with its own search path: what we send means the
//! same everywhere, and no schema in the path of the database or of the role can put functions and operators of its own in their place.
//! What needs one session asks for it ([`Context::connect_session`](crate::context::Context::connect_session)).

use postgres::types::{ToSql, Type};
use postgres::{CancelToken, CopyOutReader, Error, Row};
use std::fmt;
use std::time::Instant;

const PATH: &str = "SET LOCAL search_path = pg_catalog, pg_temp";

/// A parameter whose type the server need not be asked for.
pub trait Parameter: ToSql + Sync {
    /// Its type.
    fn kind(&self) -> Type;
    /// What is sent.
    fn value(&self) -> &(dyn ToSql + Sync);
}

macro_rules! parameters {
    ($($kind:ident: $($rust:ty),+;)+) => {$($(
        impl Parameter for $rust {
            fn kind(&self) -> Type {
                Type::$kind
            }

            fn value(&self) -> &(dyn ToSql + Sync) {
                self
            }
        }
    )+)+};
}

parameters! {
    TEXT: &str, String, Option<&str>, Option<String>;
    TEXT_ARRAY: Vec<&str>, Vec<String>;
    INT8: i64;
    BOOL: bool;
}

/// Queries, by themselves or in a transaction.
pub trait Queries {
    /// All rows.
    fn query(&mut self, sql: &str, parameters: &[&dyn Parameter]) -> Result<Vec<Row>, Error>;

    /// The first row, if there is one.
    fn query_opt(&mut self, sql: &str, parameters: &[&dyn Parameter]) -> Result<Option<Row>, Error> {
        Ok(self.query(sql, parameters)?.into_iter().next())
    }

    /// The row of a query that always has one.
    fn query_one(&mut self, sql: &str, parameters: &[&dyn Parameter]) -> Result<Row, Error>;
}

fn typed<'a>(parameters: &[&'a dyn Parameter]) -> Vec<(&'a (dyn ToSql + Sync), Type)> {
    parameters.iter().map(|one| (one.value(), one.kind())).collect()
}

/// A connection.
pub struct Client {
    inner: postgres::Client,
    /// Whether queries run as they are: with the search path that the user has anywhere else, and in whatever transaction there is.
    as_is: bool,
    /// Whether [`Client::begin`] has opened a transaction.
    open: bool,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("open", &self.open).finish_non_exhaustive()
    }
}

impl Client {
    /// Takes a connection.
    pub fn new(inner: postgres::Client) -> Self {
        Self { inner, as_is: false, open: false }
    }

    /// The same, for SQL of the user's; what we send by it is qualified in full.
    pub fn left_as_it_is(self) -> Self {
        Self { as_is: true, ..self }
    }

    /// A transaction; dropped, it is rolled back.
    pub fn transaction(&mut self) -> Result<Transaction<'_>, Error> {
        let mut inner = self.inner.transaction()?;
        inner.batch_execute(PATH)?;
        Ok(Transaction(inner))
    }

    /// Opens a transaction in which all queries run until [`Client::commit`].
    pub fn begin(&mut self, mode: &str) -> Result<(), Error> {
        self.inner.batch_execute(&format!("BEGIN {mode}; {PATH}"))?;
        self.open = true;
        Ok(())
    }

    /// Ends what [`Client::begin`] has opened.
    pub fn commit(&mut self) -> Result<(), Error> {
        self.open = false;
        self.inner.batch_execute("COMMIT")
    }

    /// Statements without results, as they are: by themselves, and under the search path of the user.
    pub fn batch_execute(&mut self, sql: &str) -> Result<(), Error> {
        self.inner.batch_execute(sql)
    }

    /// COPY … TO STDOUT, in the transaction that is open.
    pub fn copy_out(&mut self, sql: &str) -> Result<CopyOutReader<'_>, Error> {
        self.inner.copy_out(sql)
    }

    /// What cancels the statement that runs.
    pub fn cancel_token(&self) -> CancelToken {
        self.inner.cancel_token()
    }

    /// Whether the connection is lost.
    pub fn is_closed(&self) -> bool {
        self.inner.is_closed()
    }

    /// What the server has told since LISTEN.
    pub fn notifications(&mut self) -> postgres::Notifications<'_> {
        self.inner.notifications()
    }

    fn within<T>(&mut self, query: impl FnOnce(&mut postgres::Transaction<'_>) -> Result<T, Error>) -> Result<T, Error> {
        let mut transaction = self.transaction()?;
        let result = query(&mut transaction.0)?;
        transaction.commit()?;
        Ok(result)
    }
}

/// Tells `--debug` of a query of ours and its time. Parameters are not told: they may hold what nobody should read in a log.
fn told<T>(sql: &str, run: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    let started = Instant::now();
    let result = run();
    let outcome = if result.is_ok() { "ok" } else { "failed" };
    tracing::debug!("{sql}: {outcome}, {:.1} ms", started.elapsed().as_secs_f64() * 1000.0);
    result
}

impl Queries for Client {
    fn query(&mut self, sql: &str, parameters: &[&dyn Parameter]) -> Result<Vec<Row>, Error> {
        // SQL of the user's is not told either.
        if self.as_is {
            return self.inner.query_typed(sql, &typed(parameters));
        }
        told(sql, || match self.open {
            true => self.inner.query_typed(sql, &typed(parameters)),
            false => self.within(|transaction| transaction.query_typed(sql, &typed(parameters))),
        })
    }

    fn query_one(&mut self, sql: &str, parameters: &[&dyn Parameter]) -> Result<Row, Error> {
        if self.as_is {
            return self.inner.query_typed_one(sql, &typed(parameters));
        }
        told(sql, || match self.open {
            true => self.inner.query_typed_one(sql, &typed(parameters)),
            false => self.within(|transaction| transaction.query_typed_one(sql, &typed(parameters))),
        })
    }
}

/// A transaction.
pub struct Transaction<'a>(postgres::Transaction<'a>);

impl Transaction<'_> {
    /// Commits.
    pub fn commit(self) -> Result<(), Error> {
        self.0.commit()
    }
}

impl Queries for Transaction<'_> {
    fn query(&mut self, sql: &str, parameters: &[&dyn Parameter]) -> Result<Vec<Row>, Error> {
        told(sql, || self.0.query_typed(sql, &typed(parameters)))
    }

    fn query_one(&mut self, sql: &str, parameters: &[&dyn Parameter]) -> Result<Row, Error> {
        told(sql, || self.0.query_typed_one(sql, &typed(parameters)))
    }
}
