use super::{ReportQuery, Table};
use crate::Session;

pub(super) fn tables(_session: &Session, _query: &ReportQuery) -> Vec<Table> {
    Vec::new()
}
