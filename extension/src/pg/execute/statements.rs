//! SQL texts: taken apart by PostgreSQL's own parser, and run, with errors complete.

use crate::pg::execute::{lock, subtransaction, top_level_only};
use crate::pg::ffi;
use crate::pg::parse::nodes::{self, NodePtr};
use crate::pg::parse::{commands, data};
use crate::pg::pg_error::{PgError, trap};
use crate::pg::session::pinned::Quiet;
use crate::pg::strings::text;
use pgrx::{IntoDatum, pg_sys};
use runbook_core::command::Command;
use runbook_core::statement::skip_blank;
use runbook_core::top_level_only::TopLevelOnly;
use std::ffi::{CStr, CString};

/// One statement of a text.
#[derive(Clone, Debug)]
pub struct Statement {
    /// The statement alone, without the semicolon.
    pub sql: String,
    /// One-based line in the text where it starts.
    pub line: usize,
    /// Command tag, such as `ALTER TABLE`.
    pub tag: String,
    /// What it would do.
    pub command: Command,
    /// What it is, if it can't be part of a transaction.
    pub top_level_only: Option<TopLevelOnly>,
    /// The columns that an UPDATE sets.
    pub sets: Vec<String>,
    /// The existing tables that it will lock, with the mode.
    pub locks: Vec<(u32, i32)>,
}

/// The statements of `sql` by tag and text, without looking any name up; `None` if it doesn't parse.
pub fn texts(sql: &str) -> Option<Vec<(String, String)>> {
    // The client has read the parser's notices about its text already.
    let _quiet = Quiet::enter();
    let found = subtransaction::attempt(|| Ok(split(sql)?))?;
    Some(found.into_iter().map(|(tree, text, _)| (tag_of(tree), text)).collect())
}

/// Takes `sql` apart and reads what each statement would do.
///
/// # Errors
/// PostgreSQL's syntax error, located in `sql`.
pub fn parse(sql: &str) -> Result<Vec<Statement>, PgError> {
    let read = |(tree, sql, line): (NodePtr, String, usize)| {
        let tag = tag_of(tree);
        let command = commands::read(tree, &tag).command;
        let (top_level_only, locks) = (top_level_only::read(tree), lock::needed(tree, &command));
        Statement { sql, line, tag, command, top_level_only, sets: data::set_columns(tree), locks }
    };
    Ok(split(sql)?.into_iter().map(read).collect())
}

/// Parse trees with the text and the line of each statement.
fn split(sql: &str) -> Result<Vec<(NodePtr, String, usize)>, PgError> {
    let source = CString::new(sql).unwrap_or_default();
    // SAFETY: a NUL-terminated string that outlives the parse; the trees live in the current memory context.
    let trees = unsafe { trap!(ffi::pg_parse_query, source.as_ptr()) }.map_err(|mut error| {
        let line = error.position().map_or(1, |position| line_at(sql, byte_of(sql, position - 1)));
        error.locate(sql);
        error.add_context(&format!("line {line}"));
        error
    })?;
    let mut statements = Vec::new();
    let (mut line, mut counted) = (1, 0);
    for node in nodes::items(trees) {
        let raw = node.cast::<pg_sys::RawStmt>();
        // SAFETY: pg_parse_query returns a list of RawStmt.
        let (tree, location, length) = unsafe { ((*raw).stmt, (*raw).stmt_location, (*raw).stmt_len) };
        let start = usize::try_from(location).unwrap_or(0).min(sql.len());
        let length = usize::try_from(length).unwrap_or(0);
        let end = if length == 0 { sql.len() } else { (start + length).min(sql.len()) };
        let whole = sql.get(start..end).unwrap_or_default();
        let lead = whole.len() - skip_blank(whole).len();
        line += line_at(&sql[counted..], start + lead - counted) - 1;
        counted = start + lead;
        statements.push((tree, whole[lead..].trim_end().to_owned(), line));
    }
    Ok(statements)
}

/// Whether a text is one expression and nothing else.
pub fn is_expression(text: &str) -> bool {
    // In brackets, as it will stand, and without: "true) OR (true" is one only with ours. The line break ends a comment that it may end with.
    is_one_column(&format!("SELECT ({text}\n)")) && is_one_column(&format!("SELECT {text}\n"))
}

/// Whether a text is a SELECT of one column and nothing else.
fn is_one_column(sql: &str) -> bool {
    let source = CString::new(sql).unwrap_or_default();
    let _quiet = Quiet::enter();
    // SAFETY: a NUL-terminated string that outlives the parse; the trees live in the current memory context.
    let trees = subtransaction::attempt(|| Ok(unsafe { trap!(ffi::pg_parse_query, source.as_ptr()) }?));
    let Some(trees) = trees else { return false };
    let [one] = nodes::items(trees)[..] else { return false };
    // SAFETY: pg_parse_query returns a list of RawStmt; the tag says what the statement is.
    unsafe {
        let tree = (*one.cast::<pg_sys::RawStmt>()).stmt;
        if nodes::tag(tree) != pg_sys::NodeTag::T_SelectStmt {
            return false;
        }
        let select = &*tree.cast::<pg_sys::SelectStmt>();
        let clauses = [
            select.distinctClause,
            select.fromClause,
            select.groupClause,
            select.windowClause,
            select.valuesLists,
            select.sortClause,
            select.lockingClause,
        ];
        let more = [select.whereClause, select.havingClause, select.limitOffset, select.limitCount];
        nodes::items(select.targetList).len() == 1
            && clauses.iter().all(|clause| clause.is_null())
            && more.iter().all(|clause| clause.is_null())
            && select.intoClause.is_null()
            && select.withClause.is_null()
            && select.op == pg_sys::SetOperation::SETOP_NONE
    }
}

/// Runs one statement as the role in force.
///
/// # Errors
/// PostgreSQL's own, complete; located in `sql`.
pub fn run(sql: &str) -> Result<u64, PgError> {
    let source = CString::new(sql).unwrap_or_default();
    let mut processed = 0;
    // SAFETY: a NUL-terminated string that outlives the call, inside a transaction.
    unsafe { trap!(ffi::spi_run, source.as_ptr(), &raw mut processed) }
        .and_then(|code| if code < 0 { refuse(code) } else { Ok(processed) })
        .map_err(|mut error| {
            error.locate(sql);
            error
        })
}

/// Runs a query; of one with a single boolean column, the number of the first row (from 1) that is not true.
///
/// # Errors
/// As [`run`].
pub fn first_untrue(sql: &str) -> Result<Option<u64>, PgError> {
    with_arguments(sql, &[], Sees::Latest, untrue).map(|(_, found)| found)
}

/// The number of the first row that SPI has just found and that is not true, where the rows are boolean values.
fn untrue(processed: u64) -> Option<u64> {
    // SAFETY: right after SPI_execute_with_args, SPI's own result table.
    unsafe {
        let table = pg_sys::SPI_tuptable;
        if table.is_null() || (*(*table).tupdesc).natts != 1 {
            return None;
        }
        if pg_sys::getBaseType(pg_sys::SPI_gettypeid((*table).tupdesc, 1)) != pg_sys::BOOLOID {
            return None;
        }
        (0..processed).find_map(|at| {
            let mut is_null = false;
            let row = *(*table).vals.add(usize::try_from(at).ok()?);
            let value = pg_sys::SPI_getbinval(row, (*table).tupdesc, 1, &raw mut is_null);
            (is_null || value.value() == 0).then_some(at + 1)
        })
    }
}

/// Runs one statement with parameters of type text, as the role in force; how many rows it has changed.
///
/// # Errors
/// PostgreSQL's own, complete; located in `sql`.
pub fn execute(sql: &str, parameters: &[String]) -> Result<u64, PgError> {
    with_arguments(sql, parameters, Sees::Latest, |_| ()).map(|(processed, ())| processed)
}

/// The rows that a transaction sees, whatever others commit meanwhile, with what it has done itself.
pub struct View(pg_sys::Snapshot);

impl View {
    /// What is committed now.
    pub fn now() -> Self {
        // SAFETY: a snapshot may be taken in any transaction. It belongs to the whole transaction and not to the resource owner in force,
        // which is another one when it is given back.
        Self(unsafe { pg_sys::RegisterSnapshotOnOwner(pg_sys::GetTransactionSnapshot(), pg_sys::TopTransactionResourceOwner) })
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // SAFETY: registered in `now`, with this owner.
        unsafe { pg_sys::UnregisterSnapshotFromOwner(self.0, pg_sys::TopTransactionResourceOwner) }
    }
}

/// [`execute`], under a view taken before.
///
/// # Errors
/// As [`execute`].
pub fn execute_under(view: &View, sql: &str, parameters: &[String]) -> Result<u64, PgError> {
    with_arguments(sql, parameters, Sees::View(view), |_| ()).map(|(processed, ())| processed)
}

/// Reads rows under a view taken before, and what the transaction has done so far.
///
/// # Errors
/// As [`query`].
pub fn query_under(view: &View, sql: &str, parameters: &[String]) -> Result<Vec<Vec<String>>, PgError> {
    with_arguments(sql, parameters, Sees::View(view), rows).map(|(_, rows)| rows)
}

/// Reads rows of text columns, none of which is NULL, as the role in force; a text that would write is refused.
///
/// # Errors
/// PostgreSQL's own, complete; located in `sql`.
pub fn query(sql: &str, parameters: &[String]) -> Result<Vec<Vec<String>>, PgError> {
    with_arguments(sql, parameters, Sees::Active, rows).map(|(_, rows)| rows)
}

/// [`query`] without parameters, of what is committed now and what this transaction has done.
///
/// # Errors
/// As [`query`].
pub fn latest(sql: &str) -> Result<Vec<Vec<String>>, PgError> {
    with_arguments(sql, &[], Sees::Latest, rows).map(|(_, rows)| rows)
}

/// The rows that SPI has just found.
fn rows(processed: u64) -> Vec<Vec<String>> {
    // SAFETY: right after SPI_execute_with_args, SPI's own result table; values are copied as text.
    unsafe {
        let table = pg_sys::SPI_tuptable;
        if table.is_null() {
            return vec![];
        }
        let (rows, descriptor) = ((*table).vals, (*table).tupdesc);
        let columns = (*descriptor).natts;
        let value = |row: usize, column: i32| text(pg_sys::SPI_getvalue(*rows.add(row), descriptor, column));
        let row = |row: usize| (1..=columns).map(|column| value(row, column)).collect();
        (0..usize::try_from(processed).unwrap_or(0)).map(row).collect()
    }
}

/// What a statement sees of others.
#[derive(Clone, Copy)]
enum Sees<'a> {
    /// What is committed when it starts.
    Latest,
    /// What the caller sees; it may not write.
    Active,
    View(&'a View),
}

fn with_arguments<T>(sql: &str, parameters: &[String], sees: Sees, read: impl FnOnce(u64) -> T) -> Result<(u64, T), PgError> {
    let source = CString::new(sql).unwrap_or_default();
    let mut types = vec![pg_sys::TEXTOID; parameters.len()];
    let mut values: Vec<pg_sys::Datum> =
        parameters.iter().map(|text| text.as_str().into_datum().expect("a text is not NULL")).collect();
    let count = i32::try_from(parameters.len()).unwrap_or(0);
    let query = ffi::Query { source: source.as_ptr(), count, types: types.as_mut_ptr(), values: values.as_mut_ptr() };
    // SAFETY: the arrays have `count` members and outlive the call; SPI is finished below, or unwound at the abort of the transaction or
    // subtransaction.
    let code = unsafe {
        match sees {
            Sees::View(View(snapshot)) => trap!(ffi::spi_query_under, &raw const query, *snapshot),
            Sees::Latest => trap!(ffi::spi_query, &raw const query, false),
            Sees::Active => trap!(ffi::spi_query, &raw const query, true),
        }
    }
    .map_err(|mut error| {
        error.locate(sql);
        error
    })?;
    if code < 0 {
        // SAFETY: connected above.
        unsafe { pg_sys::SPI_finish() };
        refuse(code)?;
    }
    // SAFETY: connected above; what is read is copied before SPI frees it.
    unsafe {
        let processed = pg_sys::SPI_processed;
        let read = read(processed);
        pg_sys::SPI_finish();
        Ok((processed, read))
    }
}

/// SPI signals what it won't run by a code: make an error of it, as PL/pgSQL does.
fn refuse(code: i32) -> Result<u64, PgError> {
    let (message, hint): (&CStr, &CStr) = match code {
        pg_sys::SPI_ERROR_TRANSACTION => (
            c"transaction commands are not allowed in a revision",
            c"Remove BEGIN, COMMIT and ROLLBACK: a revision is a transaction of its own.",
        ),
        pg_sys::SPI_ERROR_COPY => {
            (c"COPY from or to the client is not allowed in a revision", c"Use INSERT, or COPY from a server-side file.")
        }
        _ => (c"the statement can't run inside a function", c"Set \"transaction: off\" in the revision's header."),
    };
    // SAFETY: static strings.
    unsafe { trap!(ffi::raise_unsupported, message.as_ptr(), hint.as_ptr()) }.map(|()| 0)
}

/// Whether string literals mean what they meant when the text was parsed.
pub fn strings_conform() -> bool {
    // SAFETY: reads a parameter's static.
    unsafe { pg_sys::standard_conforming_strings }
}

/// Makes deferred constraints speak now, as the role in force.
///
/// # Errors
/// The violation, complete.
pub fn check_constraints() -> Result<u64, PgError> {
    run("SET CONSTRAINTS ALL IMMEDIATE")
}

/// The tag of a raw statement's node.
fn tag_of(tree: NodePtr) -> String {
    // SAFETY: a node that pg_parse_query made; the name is a static string.
    unsafe { text(pg_sys::GetCommandTagName(pg_sys::CreateCommandTag(tree))) }
}

fn line_at(sql: &str, offset: usize) -> usize {
    1 + sql.as_bytes()[..offset.min(sql.len())].iter().filter(|byte| **byte == b'\n').count()
}

fn byte_of(sql: &str, character: usize) -> usize {
    sql.char_indices().nth(character).map_or(sql.len(), |(byte, _)| byte)
}
