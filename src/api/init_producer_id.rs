//! InitProducerId (key 22), versions 0 to 5.
//!
//! Promises: an id that nobody ever had, epoch 0. Nothing of it is kept: an idempotent producer is known by what it
//! writes.
//! Versions: 2 flexible. 3 the client names the id and epoch it has (KIP-360); an id without an epoch, or
//! the other way round, is refused; without a transactional id nothing more is made of them, as in Kafka.
//! Missing: a transactional id is refused with UNSUPPORTED_FOR_MESSAGE_FORMAT until transactions are there.

use std::future::Future;

use ottla_rules::partition::AppendError;
use ottla_rules::rights::{Operation, ResourceKind};
use ottla_wire::codes::Code;
use ottla_wire::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};

use super::{CLUSTER, Call};

/// A producer id. The coordinator is asked when this returns.
pub(crate) fn init_producer_id(
    call: &Call,
    asked: &InitProducerIdRequest,
) -> impl Future<Output = InitProducerIdResponse> + use<> {
    let refused = match asked.transactional_id.as_deref() {
        Some("") => Some(Code::InvalidRequest),
        Some(_) => Some(Code::from(&AppendError::TransactionsUnsupported)),
        None if !may_write(call) => Some(Code::ClusterAuthorizationFailed),
        None if (asked.producer_id == -1) != (asked.producer_epoch == -1) => Some(Code::InvalidRequest),
        None => None,
    };
    let taken = match refused {
        Some(code) => Err(code),
        None => Ok(call.server.take_producer_id()),
    };
    async move {
        let id = match taken {
            Ok(answer) => answer.await.map_err(|error| Code::from(&error)),
            Err(code) => Err(code),
        };
        match id {
            Ok(id) => InitProducerIdResponse {
                error_code: Code::None.into(),
                producer_id: id.0,
                producer_epoch: 0,
                ..Default::default()
            },
            Err(code) => InitProducerIdResponse {
                error_code: code.into(),
                producer_id: -1,
                producer_epoch: -1,
                ..Default::default()
            },
        }
    }
}

/// Who may write to any topic may be idempotent about it (KIP-679).
fn may_write(call: &Call) -> bool {
    call.may(Operation::IdempotentWrite, ResourceKind::Cluster, CLUSTER)
        || call
            .server
            .image()
            .topics()
            .any(|topic| call.may(Operation::Write, ResourceKind::Topic, &topic.name))
}
