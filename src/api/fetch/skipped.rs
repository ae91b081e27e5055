//! Which of the records that a reader of committed ones gets it has to skip: those of transactions that were aborted.

use std::io;

use ottla_actors::partition::ReadPlan;
use ottla_host::Pool;
use ottla_rules::partition::transactions::Aborted;
use ottla_store::FileRange;
use ottla_wire::messages::fetch::AbortedTransaction;

use crate::cold;

/// The aborted transactions of what `range` holds, by their first offsets; none for who reads everything. Looked for no
/// further than the range goes: up to the last stable offset there may be millions.
pub(super) async fn of(
    pool: &Pool,
    plan: &ReadPlan,
    range: &FileRange,
) -> io::Result<Vec<AbortedTransaction>> {
    let Some(look) = plan.aborted.clone() else { return Ok(Vec::new()) };
    let may_wait = look.may_wait();
    let (from, upto) = (plan.bounds.from, plan.bounds.upto.min(range.upto));
    let find = move || look.within(from, upto).map_err(io::Error::other);
    let rows = if may_wait { cold::wait_for(pool, find).await? } else { find()? };
    let told = |row: Aborted| AbortedTransaction { producer_id: row.producer.0, first_offset: row.first.0 };
    Ok(rows.into_iter().map(told).collect())
}
