//! Statements that go to the connection's thread together.

use futures_util::TryStreamExt as _;
use sqlx::{
    Either, Executor as _, QueryBuilder, Sqlite, SqliteConnection, query_builder::Separated, sqlite::SqliteRow,
};

/// How many rows one statement inserts, of at most six values each: the engine takes 32,766 values.
const ROWS: usize = 2000;

/// The values of one row.
pub(super) type Cells<'a> = Separated<'a, Sqlite, &'static str>;

/// Some statements, of which the first may be a question with one row as its answer. Placeholders have no numbers: each statement takes up where the one
/// before it left off.
pub(super) struct Message {
    query: QueryBuilder<Sqlite>,
    /// How many rows each statement must change, where that is a condition.
    changes: Vec<Option<usize>>,
}

impl Default for Message {
    fn default() -> Self {
        Self { query: QueryBuilder::new(""), changes: Vec::new() }
    }
}

impl Message {
    /// A question.
    pub(super) fn query(&mut self) -> &mut QueryBuilder<Sqlite> {
        self.write(None)
    }

    /// A statement that must change so many rows.
    pub(super) fn write(&mut self, changes: Option<usize>) -> &mut QueryBuilder<Sqlite> {
        if !self.changes.is_empty() {
            self.query.push("; ");
        }
        self.changes.push(changes);
        &mut self.query
    }

    /// Inserts rows, where there are any; where it is a condition that all are new, each must change one.
    pub(super) fn insert<'a, T>(
        &mut self,
        changes: Option<usize>,
        conflict: &'static str,
        into: &'static str,
        rows: &'a [T],
        row: impl Fn(Cells<'_>, &'a T),
    ) {
        // One decision can end thousands of grants, and a statement has room for so many values.
        for rows in rows.chunks(ROWS) {
            let query = self.write(changes.map(|_| rows.len()));
            query.push("INSERT ").push(conflict).push(" INTO ").push(into).push(" ");
            query.push_values(rows, &row);
        }
    }

    /// The answer to the question, and whether every statement changed as many rows as it must. All are done, or those before the first that failed.
    pub(super) async fn send(
        mut self,
        connection: &mut SqliteConnection,
    ) -> Result<(Option<SqliteRow>, bool), sqlx::Error> {
        if self.changes.is_empty() {
            return Ok((None, true));
        }
        let (mut answer, mut as_required, mut changes) = (None, true, self.changes.into_iter());
        let mut results = connection.fetch_many(self.query.build());
        while let Some(result) = results.try_next().await? {
            match result {
                Either::Right(row) => answer = Some(row),
                Either::Left(done) => {
                    let must = changes.next().flatten();
                    as_required &= must.is_none_or(|must| usize::try_from(done.rows_affected()) == Ok(must));
                }
            }
        }
        // Each told how it went.
        Ok((answer, as_required && changes.next().is_none()))
    }
}
