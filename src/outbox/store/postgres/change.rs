//! Change of a database within a transaction.

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, Row};

/// Transaction that has begun.
///
/// Statements are sent together with their values and are not kept by the server, so that a pooler may stand between.
#[derive(Clone, Copy)]
pub(super) struct Change<'c>(pub(super) &'c Client);

/// Value in a statement.
pub(super) enum Value<'v> {
    Int(i64),
    Text(&'v str),
    Ints(&'v [i64]),
    Texts(&'v [&'v str]),
}

impl Change<'_> {
    /// Runs a statement, and returns the number of rows that it changed.
    pub(super) async fn run(self, statement: &str, values: &[Value<'_>]) -> Result<u64, Error> {
        self.0.execute_typed(statement, &typed(values)).await
    }

    /// Returns all rows.
    pub(super) async fn rows(self, statement: &str, values: &[Value<'_>]) -> Result<Vec<Row>, Error> {
        self.0.query_typed(statement, &typed(values)).await
    }

    /// Returns the one row.
    pub(super) async fn row(self, statement: &str, values: &[Value<'_>]) -> Result<Row, Error> {
        self.0.query_typed_one(statement, &typed(values)).await
    }

    /// Returns the one row, if there is one.
    pub(super) async fn any_row(self, statement: &str, values: &[Value<'_>]) -> Result<Option<Row>, Error> {
        self.0.query_typed_opt(statement, &typed(values)).await
    }
}

fn typed<'v>(values: &'v [Value<'v>]) -> Vec<(&'v (dyn ToSql + Sync), Type)> {
    let typed = |value: &'v Value<'v>| -> (&'v (dyn ToSql + Sync), Type) {
        match value {
            Value::Int(value) => (value, Type::INT8),
            Value::Text(value) => (value, Type::TEXT),
            Value::Ints(values) => (values, Type::INT8_ARRAY),
            Value::Texts(values) => (values, Type::TEXT_ARRAY),
        }
    };
    values.iter().map(typed).collect()
}
