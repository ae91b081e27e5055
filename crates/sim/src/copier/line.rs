//! How a copier talks to the node: as Kafka's clients do, over another connection when one breaks, and once more when the node
//! says that it is not ready. A session that goes on so meets what the node left undone when it went: a partition that does not
//! have the marker of the last transaction when a batch of the next one comes.

use std::io;

use ottla_wire::Message;
use ottla_wire::codes::Code;

use super::Over;
use crate::client::Client;
use crate::scene::Scene;

/// The requests of one session.
pub(super) struct Line<'a> {
    pub(super) scene: &'a Scene,
    client: Option<Client>,
    /// The session ends once in so many troubles.
    gives_up_one_in: u64,
}

impl<'a> Line<'a> {
    pub(super) fn new(scene: &'a Scene) -> Self {
        let gives_up_one_in = if scene.luck.below(2) == 0 { 1 } else { 40 };
        Self { scene, client: None, gives_up_one_in }
    }

    /// Asks until the answer is a good one. `codes` are all that it says.
    pub(super) async fn ask<Q: Message, A: Message>(
        &mut self,
        version: i16,
        request: &Q,
        codes: impl Fn(&A) -> Vec<i16>,
    ) -> Result<A, Over> {
        loop {
            match self.once::<Q, A>(version, request).await {
                Ok(answer) => {
                    let bad = codes(&answer).into_iter().find(|code| *code != Code::None.number());
                    match bad.map(|code| Code::from_number(code).unwrap_or(Code::UnknownServerError)) {
                        None => return Ok(answer),
                        Some(code) if is_for_now(code) => (),
                        Some(_) => return Err(Over),
                    }
                }
                // What was sent may have arrived, or arrive later.
                Err(_) => self.client = None,
            }
            if self.scene.luck.below(self.gives_up_one_in) == 0 {
                return Err(Over);
            }
            self.scene.rest(40).await;
        }
    }

    async fn once<Q: Message, A: Message>(&mut self, version: i16, request: &Q) -> io::Result<A> {
        let client = match &mut self.client {
            Some(client) => client,
            None => self.client.insert(Client::connect(self.scene).await?),
        };
        client.ask(version, request).await
    }
}

/// What Kafka's clients answer by asking again.
fn is_for_now(code: Code) -> bool {
    matches!(
        code,
        Code::NotLeaderOrFollower
            | Code::RequestTimedOut
            | Code::CoordinatorLoadInProgress
            | Code::CoordinatorNotAvailable
            | Code::NotCoordinator
            | Code::ConcurrentTransactions
            | Code::KafkaStorageError
            | Code::UnstableOffsetCommit
    )
}
