# Everyday commands. `just` alone lists them.

default:
    @just --list

# Everything a change must pass before it lands.
check: fmt clippy doc test

fmt:
    cargo fmt --all --check

clippy:
    cargo clippy --workspace --all-targets -- -D warnings

doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

test:
    cargo test --workspace

# A broker with an empty data directory under target/, on 127.0.0.1:9092.
serve *ARGS:
    cargo run --release -- serve --data-dir target/serve {{ARGS}}

# Verified load while the broker is killed and restarted (needs Python with confluent-kafka).
kill SECONDS="300" KILLS="60":
    cargo build --release
    python3 tests/faults/kill_restart.py --seconds {{SECONDS}} --kills {{KILLS}} --up-max 4.5

# Verified load while a partition's actor panics again and again (needs Python with confluent-kafka).
panic:
    cargo build --release --features provoke --target-dir target/provoke
    python3 tests/faults/panic_partition.py --command "target/provoke/release/ottla serve --data-dir {dir} --listen 127.0.0.1:{port}"

# The same requests to this broker and to another one; prints what differs (needs kafka-python and crc32c).
answers OURS PEER:
    python3 tests/peer/answers.py {{OURS}} {{PEER}}

# How fast, how small, how soon: the broker against the limit of this machine, and with --peer HOST:PORT --peer-pid PID
# against another one. `just bench --quick` for a look, --only produce for one chapter, --out FILE for the Markdown.
bench *ARGS:
    cargo build --release -p ottla -p ottla-bench
    target/release/ottla-bench {{ARGS}}

# The same for groups: commits, what a restart finds, a thousand members.
bench-groups *ARGS:
    cargo build --release -p ottla -p ottla-bench
    target/release/ottla-bench --only groups {{ARGS}}

# And for transactions: read, process, write.
bench-txn *ARGS:
    cargo build --release -p ottla -p ottla-bench
    target/release/ottla-bench --only transactions {{ARGS}}

# Licences, advisories and sources of everything we depend on (needs cargo-deny).
deny:
    cargo deny check
