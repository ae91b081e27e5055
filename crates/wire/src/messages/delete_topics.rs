//! DeleteTopics (key 20), versions 1 to 6.
//!
//! Versions: 4 flexible. 5 error messages. 6 topics by id.

use ottla_rules::ids::TopicId;

use crate::message::message;

message! {
    DeleteTopics request, versions 1-6, flexible 4+;
    /// Deletes topics.
    DeleteTopicsRequest {
        /// The topics by name or id, from version 6.
        topics: Vec<DeleteTopicState> [6+],
        /// The topics by name, before version 6.
        topic_names: Vec<String> [0-5],
        /// How long the client waits, in milliseconds.
        timeout_ms: i32 [0+],
    }

    /// A topic to delete.
    DeleteTopicState {
        /// The topic's name; null when it is named by id.
        name: Option<String> [6+, nullable 6+, default None],
        /// The topic's id.
        topic_id: TopicId [6+],
    }
}

message! {
    DeleteTopics response, versions 1-6, flexible 4+;
    /// What became of the topics.
    DeleteTopicsResponse {
        /// For how long the client should be quiet, in milliseconds, because it is over its quota.
        throttle_time_ms: i32 [1+],
        /// The answers, one for each thing that was asked for.
        responses: Vec<DeletableTopicResult> [0+],
    }

    /// What became of one topic.
    DeletableTopicResult {
        /// The topic's name; null for an id that is not known.
        name: Option<String> [0+, nullable 6+],
        /// The topic's id.
        topic_id: TopicId [6+],
        /// Kafka's error code, 0 when all went well.
        error_code: i16 [0+],
        /// A sentence for a person; null when there is nothing to say.
        error_message: Option<String> [5+, nullable 5+, default None],
    }
}
