//! Which of the records that a reader of committed ones gets it has to skip: those of transactions that were aborted.

use std::io;

use ottla_actors::partition::ReadPlan;
use ottla_host::Pool;
use ottla_rules::batch::Walk;
use ottla_rules::ids::Offset;
use ottla_rules::partition::transactions::Aborted;
use ottla_store::FileRange;
use ottla_wire::messages::fetch::AbortedTransaction;

use crate::cold;

/// So many are sent although some of them may begin behind the records that are sent: a client passes over those, and
/// finding out costs more than sending them.
const ROWS_FREE: usize = 64;

/// The aborted transactions of what `range` holds, by their first offsets; none for who reads everything.
pub(super) async fn of(
    pool: &Pool,
    plan: &ReadPlan,
    range: &FileRange,
) -> io::Result<Vec<AbortedTransaction>> {
    let Some(look) = plan.aborted.clone() else { return Ok(Vec::new()) };
    let (from, upto) = (plan.bounds.from, plan.bounds.upto);
    let find = move || look.within(from, upto).map_err(io::Error::other);
    let may_wait = plan.aborted.as_ref().is_some_and(ottla_store::AbortedLook::may_wait);
    let mut rows = if may_wait { cold::wait_for(pool, find).await? } else { find()? };
    if rows.len() > ROWS_FREE {
        let range = range.clone();
        let end = cold::wait_for(pool, move || end_of(&range)).await?;
        rows.retain(|row| row.first < end);
    }
    let told = |row: Aborted| AbortedTransaction { producer_id: row.producer.0, first_offset: row.first.0 };
    Ok(rows.into_iter().map(told).collect())
}

/// Where the records of a range end. Reads them.
fn end_of(range: &FileRange) -> io::Result<Offset> {
    let bytes = range.read()?;
    let last = Walk::over(&bytes).map_while(Result::ok).last();
    Ok(last.map_or(Offset(i64::MAX), |(_, header)| header.end()))
}
