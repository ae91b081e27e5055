//! One answer for all who ask the same at the same moment.

/// The last question of this moment, and its answer.
///
/// A crowd that waits for the same partition has mostly asked the same. Nothing changes while it is answered, so whoever asks what
/// the one before has asked gets the same answer. Only the last one is remembered: a crowd of different questions costs no memory, and
/// no more than an answer each.
#[derive(Debug)]
pub struct Moment<Q, A>(Option<(Q, A)>);

impl<Q, A> Default for Moment<Q, A> {
    fn default() -> Self {
        Self(None)
    }
}

impl<Q: PartialEq, A: Clone> Moment<Q, A> {
    /// The answer to `question`; `work_out` is asked unless it is known.
    pub fn answer(&mut self, question: Q, work_out: impl FnOnce(&Q) -> A) -> A {
        match &self.0 {
            Some((known, answer)) if *known == question => answer.clone(),
            Some(_) | None => {
                let answer = work_out(&question);
                self.0 = Some((question, answer.clone()));
                answer
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ids::{LeaderEpoch, Offset},
        partition::ReadAsk,
    };

    fn ask(from: i64) -> ReadAsk {
        ReadAsk { from: Offset(from), current_epoch: None, last_fetched_epoch: None, committed_only: false }
    }

    /// Every answer is the number of times that somebody had to think.
    fn answers(questions: &[(ReadAsk, usize)]) -> Vec<usize> {
        let (mut moment, mut thought) = (Moment::default(), 0);
        let mut think = |_: &(ReadAsk, usize)| {
            thought += 1;
            thought
        };
        questions.iter().map(|question| moment.answer(*question, &mut think)).collect()
    }

    #[test]
    fn a_crowd_that_asks_the_same_is_thought_about_once() {
        assert_eq!(answers(&[(ask(7), 100); 5]), [1; 5]);
    }

    #[test]
    fn whatever_differs_in_the_question_is_another_one() {
        let others = [
            (ask(8), 100),
            (ask(7), 101),
            (ReadAsk { current_epoch: Some(LeaderEpoch(1)), ..ask(7) }, 100),
            (ReadAsk { last_fetched_epoch: Some(LeaderEpoch(1)), ..ask(7) }, 100),
            (ReadAsk { committed_only: true, ..ask(7) }, 100),
        ];
        for other in others {
            assert_eq!(answers(&[(ask(7), 100), other, other, (ask(7), 100)]), [1, 2, 2, 3], "{other:?}");
        }
    }
}
