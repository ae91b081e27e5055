//! AddOffsetsToTxn (key 25), versions 0 to 4.
//!
//! Promises: the group's partition of `__consumer_offsets` is part of the transaction when this is answered; what the
//! producer then commits for the group (TxnOffsetCommit) counts when the transaction is committed.
//! Versions: 2 PRODUCER_FENCED. 3 flexible. 4 TRANSACTION_ABORTABLE. Clients of `transaction.version` 2 do without.

use std::future::Future;

use ottla_actors::transactions::JoinTransaction;
use ottla_rules::ids::{ProducerEpoch, ProducerId};
use ottla_rules::rights::{Operation, ResourceKind};
use ottla_rules::topic::CONSUMER_OFFSETS;
use ottla_rules::transaction::{Protocol, Session, join::Join};
use ottla_wire::codes::Code;
use ottla_wire::messages::add_offsets_to_txn::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};

use super::{Call, fenced_code, find_coordinator};
use crate::server::Server;

/// The version from which clients know PRODUCER_FENCED.
const FENCED_FROM: i16 = 2;

/// Makes the offsets of a group part of a transaction.
pub(crate) fn add_offsets_to_txn(
    call: &Call,
    version: i16,
    asked: AddOffsetsToTxnRequest,
) -> impl Future<Output = AddOffsetsToTxnResponse> + use<> {
    let refusal = refusal(call, &asked);
    // A producer may come here before anybody has looked for the group's coordinator.
    let wanted = refusal.is_none().then_some(CONSUMER_OFFSETS);
    let creation = wanted.and_then(|topic| find_coordinator::create_missing(call, topic));
    let server = call.server.clone();
    async move {
        if let Some(creation) = creation {
            creation.await;
        }
        let error_code = match refusal {
            Some(code) => code,
            None => join(&server, version, asked).await,
        };
        AddOffsetsToTxnResponse { error_code: error_code.into(), ..Default::default() }
    }
}

fn refusal(call: &Call, asked: &AddOffsetsToTxnRequest) -> Option<Code> {
    if !call.may(Operation::Write, ResourceKind::TransactionalId, &asked.transactional_id) {
        return Some(Code::TransactionalIdAuthorizationFailed);
    }
    let may = call.may(Operation::Read, ResourceKind::Group, &asked.group_id);
    (!may).then_some(Code::GroupAuthorizationFailed)
}

async fn join(server: &Server, version: i16, asked: AddOffsetsToTxnRequest) -> Code {
    let Some(partition) = server.partition_of_group(&asked.group_id) else {
        return Code::CoordinatorNotAvailable;
    };
    let session =
        Session { producer: ProducerId(asked.producer_id), epoch: ProducerEpoch(asked.producer_epoch) };
    let join = Join { session, partitions: vec![partition], protocol: Protocol::V1 };
    let make = |id, reply| JoinTransaction { id, join, reply };
    let joined = server.ask_transaction(&asked.transactional_id, make).await;
    joined.map_or_else(|error| fenced_code(&error, version >= FENCED_FROM), |_| Code::None)
}
