//! EndTxn (key 26), versions 0 to 5.
//!
//! Promises: an end that was answered holds, whatever dies afterwards; readers see it as soon as every partition has its
//! marker. The same end again is answered the same way.
//! Versions: 2 PRODUCER_FENCED. 3 flexible. 5 the answer has the session of the next transaction (KIP-890).

use std::future::Future;

use ottla_actors::transactions::EndTransaction;
use ottla_rules::ids::{ProducerEpoch, ProducerId};
use ottla_rules::rights::{Operation, ResourceKind};
use ottla_rules::transaction::{Protocol, Session, coordinator::End};
use ottla_wire::codes::Code;
use ottla_wire::messages::end_txn::{EndTxnRequest, EndTxnResponse};

use super::{Call, fenced_code};

/// The version from which clients know PRODUCER_FENCED.
const FENCED_FROM: i16 = 2;
/// The version that follows the rules of `transaction.version` 2.
const RAISES_FROM: i16 = 5;

/// Ends a transaction.
pub(crate) fn end_txn(
    call: &Call,
    version: i16,
    asked: &EndTxnRequest,
) -> impl Future<Output = EndTxnResponse> + use<> {
    let id = asked.transactional_id.as_str();
    let session =
        Session { producer: ProducerId(asked.producer_id), epoch: ProducerEpoch(asked.producer_epoch) };
    let protocol = if version >= RAISES_FROM { Protocol::V2 } else { Protocol::V1 };
    let end = End { session, commit: asked.committed, protocol };
    let may = call.may(Operation::Write, ResourceKind::TransactionalId, id);
    let answer =
        may.then(|| call.server.ask_transaction(id, move |id, reply| EndTransaction { id, end, reply }));
    async move {
        let ended = match answer {
            Some(answer) => answer.await.map_err(|error| fenced_code(&error, version >= FENCED_FROM)),
            None => Err(Code::TransactionalIdAuthorizationFailed),
        };
        match ended {
            Ok(next) => EndTxnResponse {
                error_code: Code::None.into(),
                producer_id: next.producer.0,
                producer_epoch: next.epoch.0,
                ..Default::default()
            },
            Err(code) => EndTxnResponse { error_code: code.into(), ..Default::default() },
        }
    }
}
