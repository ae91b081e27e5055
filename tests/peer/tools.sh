#!/usr/bin/env bash
# tools.sh HOST:PORT KAFKA_TOOL: runs Apache Kafka's own command line tools against a broker and checks what they say.
#
# KAFKA_TOOL is a command that runs one tool by name (topics, configs, console-producer, console-consumer, offsets,
# delete-records, api-versions, producer-perf) with the arguments after it. The broker should be fresh, node id 1.
set -uo pipefail
(($# == 2)) || { sed -n 2,6p "$0"; exit 2; }
at=$1 tool=$2 dir=$(mktemp -d) passed=0 failed=0
trap 'rm -rf "$dir"' EXIT

# check LABEL PATTERN COMMAND...: the command must succeed and its output match.
check() {
  local label=$1 pattern=$2 out
  shift 2
  if out=$("$@" 2>&1) && grep -qE -- "$pattern" <<<"$out"; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    printf 'FAILED %s: wanted /%s/, got:\n%s\n' "$label" "$pattern" "$(tail -n 12 <<<"$out")"
  fi
}
kafka() { "$tool" "$1" --bootstrap-server "$at" "${@:2}"; }
produce() { seq 1 100 | kafka console-producer --topic "$1" --command-property acks=all; }
consume() { kafka console-consumer --topic t --partition "$1" --offset earliest --max-messages "$2" --timeout-ms 20000; }

check "topics create" 'Created topic t' kafka topics --create --topic t --partitions 3 --config retention.ms=86400000
check "topics create twice" 'already exists' bash -c '! "$0" topics --bootstrap-server "$1" --create --topic t' "$tool" "$at"
check "topics list" '^t$' kafka topics --list
check "topics describe" 'PartitionCount: 3.*ReplicationFactor: 1.*retention.ms=86400000' kafka topics --describe --topic t
check "topics alter" '' kafka topics --alter --topic t --partitions 5
check "topics describe after alter" 'PartitionCount: 5' kafka topics --describe --topic t
check "configs alter" 'Completed updating' kafka configs --alter --entity-type topics --entity-name t --add-config segment.bytes=2000000
check "configs describe" 'segment.bytes=2000000' kafka configs --describe --entity-type topics --entity-name t
check "configs describe all" 'cleanup.policy=delete' kafka configs --describe --all --entity-type topics --entity-name t
check "configs delete" 'Completed updating' kafka configs --alter --entity-type topics --entity-name t --delete-config segment.bytes
check "configs describe broker" 'num.partitions=' kafka configs --describe --all --entity-type brokers --entity-name 1
check "console producer" '' produce t
count() { for p in 0 1 2 3 4; do kafka offsets --topic t --partitions "$p"; done | awk -F: '{n += $3} END {print "sum " n}'; }
check "offsets" '^sum 100$' count
busiest=$(kafka offsets --topic t 2>/dev/null | sort -t: -k3 -n | tail -n 1)
check "console consumer" "Processed a total of ${busiest##*:} messages" consume "$(cut -d: -f2 <<<"$busiest")" "${busiest##*:}"
printf '{"partitions":[{"topic":"t","partition":%s,"offset":1}],"version":1}' "$(cut -d: -f2 <<<"$busiest")" >"$dir/delete.json"
check "delete-records" 'low_watermark: 1' kafka delete-records --offset-json-file "$dir/delete.json"
check "offsets earliest" "^t:$(cut -d: -f2 <<<"$busiest"):1$" kafka offsets --topic t --time earliest
check "api-versions" 'Produce\(0\): 0 to 13' kafka api-versions
check "producer-perf" '20000 records sent' kafka producer-perf --topic t --num-records 20000 --record-size 100 --throughput -1 --command-property acks=all
check "topics delete" '' kafka topics --delete --topic t
check "topics list after delete" '^$' bash -c 'test -z "$("$0" topics --bootstrap-server "$1" --list 2>/dev/null | grep -x t)"' "$tool" "$at"
echo "$passed passed, $failed failed"
((failed == 0))
