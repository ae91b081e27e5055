#!/usr/bin/env bash
# dump_log.sh DATA_DIR KAFKA_TOOL: Kafka's own DumpLogSegments reads every segment and index file of a stopped broker.
#
# KAFKA_TOOL is a command that runs the tool `dump-log` with the arguments after it. A complaint of the tool about any
# file (corrupt batch, index entry that does not match, timestamp out of order) makes the exit code 1.
set -uo pipefail
(($# == 2)) || { sed -n 2,6p "$0"; exit 2; }
files=$(find "$1" -path '*-[0-9]*/*' \( -name '*.log' -o -name '*.index' -o -name '*.timeindex' \) -size +0 | sort)
[[ -n $files ]] || { echo "no segment files under $1"; exit 1; }
out=$("$2" dump-log --deep-iteration --files "$(paste -sd, <<<"$files")" 2>&1)
code=$?
complaints=$(grep -v '^Dumping ' <<<"$out" | grep -iE 'mismatch|corrupt|error|exception|out of order|not valid|isvalid: false|trailing|found timestamp' | head -n 20)
batches=$(grep -c '^baseOffset' <<<"$out")
echo "files=$(wc -l <<<"$files") batches=$batches exit=$code complaints=$(grep -c . <<<"$complaints")"
[[ -z $complaints ]] || { echo "$complaints"; exit 1; }
((code == 0 && batches > 0))
