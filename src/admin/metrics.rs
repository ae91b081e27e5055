//! The text of `/metrics`, in Prometheus' exposition format. Names say what and in which unit; what only grows ends in `_total`.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::sync::PoisonError;

use ottla_actors::observe::{NodeSeen, PartitionState};
use ottla_host::Process;
use ottla_wire::api::ApiKey;

use super::Sources;

const STATES: [(PartitionState, &str); 4] = [
    (PartitionState::Leading, "leading"),
    (PartitionState::Recovering, "recovering"),
    (PartitionState::Offline, "offline"),
    (PartitionState::Absent, "absent"),
];

/// Everything that is counted.
pub(super) fn text(sources: &Sources, node: &NodeSeen) -> String {
    let mut page = Page(String::new());
    door(sources, &mut page);
    partitions(node, &mut page);
    disk(node, &mut page);
    compaction(node, &mut page);
    let coordinator = node.coordinator.clone().unwrap_or_default();
    page.one(
        "ottla_actor_panics_total",
        "counter",
        "Actors that panicked and were rebuilt or given up.",
        coordinator.panics,
    );
    page.one(
        "ottla_actors_given_up_total",
        "counter",
        "Actors given up after dying again and again.",
        coordinator.given_up,
    );
    let process = Process::look();
    if let Some(bytes) = process.resident_bytes {
        page.one("process_resident_memory_bytes", "gauge", "Memory that the process occupies.", bytes);
    }
    if let Some(files) = process.open_files {
        page.one("process_open_fds", "gauge", "Files and sockets that the process has open.", files);
    }
    page.0
}

fn door(sources: &Sources, page: &mut Page) {
    let totals = sources.hall.totals();
    page.one("ottla_network_received_bytes_total", "counter", "Bytes read from clients.", totals.bytes_in);
    page.one("ottla_network_sent_bytes_total", "counter", "Bytes written to clients.", totals.bytes_out);
    page.one(
        "ottla_connections_accepted_total",
        "counter",
        "Connections that were let in.",
        totals.connections,
    );
    page.one("ottla_connections", "gauge", "Connections that are open.", sources.hall.count());
    let (used, max) = sources.hall.credit();
    page.one(
        "ottla_request_credit_used_bytes",
        "gauge",
        "Bytes of requests and answers held in memory, beyond 16 KiB of each connection.",
        used,
    );
    page.one(
        "ottla_request_credit_max_bytes",
        "gauge",
        "The bound on them; beyond it no large request is read.",
        max,
    );
    page.head("ottla_requests_total", "counter", "Requests, by API.");
    for (number, count) in totals.requests {
        if let Some(key) = ApiKey::from_number(number) {
            page.line("ottla_requests_total", &[("request", &format!("{key:?}"))], count);
        }
    }
    page.head(
        "ottla_request_errors_total",
        "counter",
        "Partitions that a Produce or Fetch was refused for, by error.",
    );
    let errors = sources.common.errors.lock().unwrap_or_else(PoisonError::into_inner).clone();
    for ((request, error), count) in errors {
        let labels = [("request", format!("{request:?}")), ("error", error.name().to_owned())];
        page.line(
            "ottla_request_errors_total",
            &labels.each_ref().map(|(name, value)| (*name, value.as_str())),
            count,
        );
    }
    let sessions = sources.common.fetch_sessions.lock().unwrap_or_else(PoisonError::into_inner);
    page.one("ottla_fetch_sessions", "gauge", "Incremental fetch sessions.", sessions.count());
    page.one(
        "ottla_fetch_session_partitions",
        "gauge",
        "Partitions that they remember.",
        sessions.n_partitions(),
    );
    page.one(
        "ottla_fetch_sessions_evicted_total",
        "counter",
        "Fetch sessions that had to go.",
        sessions.evicted(),
    );
}

fn partitions(node: &NodeSeen, page: &mut Page) {
    page.head("ottla_partitions", "gauge", "Partitions of this node, by state.");
    for (state, name) in STATES {
        page.line("ottla_partitions", &[("state", name)], node.in_state(state).count());
    }
    page.head("ottla_partition_unavailable", "gauge", "1 for each partition that serves nobody, by name.");
    for (state, name) in [(PartitionState::Offline, "offline"), (PartitionState::Absent, "absent")] {
        for named in node.in_state(state) {
            let index = named.index.to_string();
            let labels = [("topic", &*named.topic), ("partition", &*index), ("state", name)];
            page.line("ottla_partition_unavailable", &labels, 1);
        }
    }
    let mut by_topic: BTreeMap<&str, u64> = BTreeMap::new();
    for named in &node.partitions {
        *by_topic.entry(&named.topic).or_default() += named.seen.log_bytes;
    }
    page.head("ottla_log_size_bytes", "gauge", "Bytes of segments, by topic.");
    for (topic, bytes) in by_topic {
        page.line("ottla_log_size_bytes", &[("topic", topic)], bytes);
    }
    let parked: usize = node.partitions.iter().map(|named| named.seen.parked).sum();
    page.one("ottla_appends_waiting", "gauge", "Appends that wait for the disk.", parked);
    let watchers: usize = node.partitions.iter().map(|named| named.seen.watchers).sum();
    page.one("ottla_fetches_waiting", "gauge", "Places where fetches wait for records.", watchers);
}

fn compaction(node: &NodeSeen, page: &mut Page) {
    let seen = node.compaction;
    page.one(
        "ottla_compaction_read_bytes_total",
        "counter",
        "Bytes of segments that compaction wrote anew.",
        seen.bytes_before,
    );
    page.one(
        "ottla_compaction_written_bytes_total",
        "counter",
        "Bytes of the segments that took their place.",
        seen.bytes_after,
    );
    page.one(
        "ottla_compaction_removed_records_total",
        "counter",
        "Records that compaction took out.",
        seen.records,
    );
    page.one(
        "ottla_compaction_failed_total",
        "counter",
        "Partitions whose compaction failed, and that are not compacted any more.",
        seen.failed,
    );
}

fn disk(node: &NodeSeen, page: &mut Page) {
    if let Some(journal) = node.journal {
        page.one("ottla_journal_size_bytes", "gauge", "Bytes of the journal's files.", journal.bytes);
        page.one("ottla_journal_syncs_total", "counter", "Syncs of the journal.", journal.syncs);
        page.one(
            "ottla_journal_batches_total",
            "counter",
            "Batches that those syncs made safe; divided by them, acknowledgements a sync.",
            journal.batches,
        );
        page.one(
            "ottla_journal_batch_bytes_total",
            "counter",
            "Bytes of batches written to the journal.",
            journal.batch_bytes,
        );
        page.one("ottla_journal_waiting", "gauge", "Batches that wait for the journal.", journal.waiting);
        page.one(
            "ottla_journal_sync_seconds",
            "gauge",
            "How long the sync under way has taken so far; 0 where none is.",
            journal.sync_ms as f64 / 1000.0,
        );
    }
    if let Some(free) = node.free_bytes {
        page.one("ottla_disk_free_bytes", "gauge", "Free bytes of the data directory's volume.", free);
    }
    page.one(
        "ottla_disk_full",
        "gauge",
        "1 while appends are refused for want of space.",
        u8::from(node.is_full),
    );
    page.one(
        "ottla_disk_lost",
        "gauge",
        "1 once a sync has failed: appends are refused until the process is restarted.",
        u8::from(node.is_lost),
    );
}

struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// Label values are topic names, states and Kafka's own words: none has a quote or a backslash in it.
    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<_> = labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        let _ = writeln!(self.0, "{name}{{{}}} {value}", labels.join(","));
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.head(name, kind, help);
        let _ = writeln!(self.0, "{name} {value}");
    }
}
