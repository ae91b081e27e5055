//! InitProducerId (key 22), versions 0 to 5.
//!
//! Promises: without a transactional id, an id that nobody ever had, epoch 0. Nothing of it is kept: an idempotent producer is
//! known by what it writes. With one, a session of that id, which fences every session before it and ends the
//! transaction that one may have begun.
//! Versions: 2 flexible. 3 the client names the id and epoch it has (KIP-360); an id without an epoch, or
//! the other way round, is refused; without a transactional id nothing more is made of them, as in Kafka. 4 PRODUCER_FENCED
//! (KIP-588).

use std::future::Future;

use ottla_actors::transactions::BeginSession;
use ottla_rules::cluster::CommandError;
use ottla_rules::ids::{ProducerEpoch, ProducerId};
use ottla_rules::rights::{Operation, ResourceKind};
use ottla_rules::transaction::{Session, TransactionError, coordinator::Begin};
use ottla_wire::codes::Code;
use ottla_wire::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};

use super::{CLUSTER, Call, fenced_code};

/// The version from which clients know PRODUCER_FENCED.
const FENCED_FROM: i16 = 4;

/// A producer id. Whoever knows is asked when this returns.
pub(crate) fn init_producer_id(
    call: &Call,
    version: i16,
    asked: &InitProducerIdRequest,
) -> impl Future<Output = InitProducerIdResponse> + use<> {
    let way = way(call, asked);
    async move {
        let session = match way {
            Err(code) => Err(code),
            Ok(Way::Idempotent(taken)) => {
                let first = |id| Session { producer: id, epoch: ProducerEpoch(0) };
                taken.await.map(first).map_err(|error| code_of(&error))
            }
            Ok(Way::Transactional(begun)) => begun.await.map_err(|error| {
                log::debug!(error:% = error; "no session");
                fenced_code(&error, version >= FENCED_FROM)
            }),
        };
        let none = Session { producer: ProducerId::NONE, epoch: ProducerEpoch(-1) };
        let (error_code, Session { producer, epoch }) = match session {
            Ok(session) => (Code::None.into(), session),
            Err(code) => (code.into(), none),
        };
        let (producer_id, producer_epoch) = (producer.0, epoch.0);
        InitProducerIdResponse { error_code, producer_id, producer_epoch, ..Default::default() }
    }
}

/// Why there is no id for an idempotent producer: whatever passes is COORDINATOR_LOAD_IN_PROGRESS, as in Kafka
/// (`ProducerIdManager`), since older clients take all but errors of a coordinator for the end of the producer.
fn code_of(error: &CommandError) -> Code {
    match error {
        CommandError::Storage(_) | CommandError::NotHere | CommandError::TimedOut => {
            Code::CoordinatorLoadInProgress
        }
        other => Code::from(other),
    }
}

/// Who is asked for it.
enum Way<I, T> {
    Idempotent(I),
    Transactional(T),
}

#[expect(clippy::type_complexity, reason = "a type of futures without a name cannot be given one")]
fn way(
    call: &Call,
    asked: &InitProducerIdRequest,
) -> Result<
    Way<
        impl Future<Output = Result<ProducerId, CommandError>> + use<>,
        impl Future<Output = Result<Session, TransactionError>> + use<>,
    >,
    Code,
> {
    let is_half = (asked.producer_id == -1) != (asked.producer_epoch == -1);
    match asked.transactional_id.as_deref() {
        Some("") => Err(Code::InvalidRequest),
        Some(id) if !call.may(Operation::Write, ResourceKind::TransactionalId, id) => {
            Err(Code::TransactionalIdAuthorizationFailed)
        }
        None if !may_write(call) => Err(Code::ClusterAuthorizationFailed),
        _ if is_half => Err(Code::InvalidRequest),
        None => Ok(Way::Idempotent(call.server.take_producer_id())),
        Some(id) => {
            let had = Session {
                producer: ProducerId(asked.producer_id),
                epoch: ProducerEpoch(asked.producer_epoch),
            };
            let begin =
                Begin { timeout_ms: asked.transaction_timeout_ms, had: (had.producer.0 >= 0).then_some(had) };
            let make = move |id, reply| BeginSession { id, begin, reply };
            Ok(Way::Transactional(call.server.ask_transaction(id, make)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_an_error_that_every_client_tries_again() {
        for error in [CommandError::Storage("full".into()), CommandError::NotHere, CommandError::TimedOut] {
            assert_eq!(code_of(&error), Code::CoordinatorLoadInProgress, "{error}");
        }
        assert_eq!(code_of(&CommandError::Request("no".into())), Code::InvalidRequest);
    }
}
