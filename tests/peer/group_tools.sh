#!/usr/bin/env bash
# group_tools.sh OURS PEER KAFKA_TOOL [PART...]: runs Apache Kafka's tools for groups and transactions against two brokers, and compares
# what they print, line by line.
#
# OURS and PEER are HOST:PORT of two fresh brokers, alike in their settings. KAFKA_TOOL is a command that runs one tool by name
# (topics, configs, console-producer, transactions; groups is ConsumerGroupCommand, groups-all GroupsCommand) with the arguments after it. PARTs are offsets, configs,
# deletes, transactions and ongoing: all unless named; ongoing needs a Python with confluent-kafka (PYTHON, else python3). Ids, hosts, times and the order of lines are taken out before. Exits 1 when something differs.
set -uo pipefail
(($# >= 3)) || { sed -n 2,7p "$0"; exit 2; }
ours=$1 peer=$2 tool=$3
shift 3
parts=("${@:-offsets configs deletes transactions ongoing}")
dir=$(mktemp -d) same=0 different=0
trap 'rm -rf "$dir"' EXIT

# What belongs to one broker, or to one moment.
plain() {
  sed -E -e "s#$1#BROKER#g" -e 's/127\.0\.0\.1:[0-9]+/BROKER/g' -e 's/localhost:[0-9]+/BROKER/g' \
    -e 's/[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.,]+Z?/TIME/g' -e 's/(producer ?id|ProducerId)[^0-9]*[0-9]+/PRODUCER/Ig' \
    -e 's/\b1[0-9]{12}\b/TIME/g' -e 's/[ \t]+/ /g' -e 's/ $//' -e '/^(\[|WARN|SLF4J)/d' -e '/^\s+at /d' -e '/jars$/d' | grep -v '^$' |
    sed -E -e 's/^[0-9]+ ([0-9]+ -?[0-9]+ [0-9]+ TIME)/PRODUCER \1/' -e 's/(TIME) [0-9]+ (gt-0)/\1 DURATION \2/' \
      -e 's/^([a-z]\S+ [0-9]+|[0-9]+ [a-z]\S+) [0-9]+ (([0-9]+ )?(Ongoing|CompleteAbort))/\1 PRODUCER \2/' | sort
}
ask() { # ask BROKER TOOL ARGS...
  local at=$1 name=$2
  shift 2
  "$tool" "$name" --bootstrap-server "$at" "$@" 2>&1 </dev/null | plain "$at"
}
# both LABEL TOOL ARGS...
both() {
  local label=$1
  shift
  ask "$ours" "$@" >"$dir/ours" & ask "$peer" "$@" >"$dir/peer"
  wait
  if [[ ! -s $dir/ours ]] || grep -q 'no such tool' "$dir/ours"; then
    echo "nothing was compared: $label"
    different=$((different + 1))
  elif diff "$dir/ours" "$dir/peer" >"$dir/diff"; then
    same=$((same + 1))
  else
    different=$((different + 1))
    printf 'DIFFERENT %s (< ours, > peer)\n' "$label"
    head -n 20 "$dir/diff"
  fi
}
fill() { # fill BROKER; one partition, because which of several a producer chooses is chance
  "$tool" topics --bootstrap-server "$1" --create --topic gt --partitions 1 >/dev/null 2>&1
  seq 1 20 | "$tool" console-producer --bootstrap-server "$1" --topic gt --command-property acks=all >/dev/null 2>&1
}
reset() { both "reset $*" groups --group g --topic gt --reset-offsets "$@"; }

offsets() {
  both "describe nobody" groups --describe --group nobody
  reset --to-earliest --dry-run
  reset --to-latest --execute
  reset --shift-by -3 --execute
  reset --to-offset 2 --execute
  reset --to-datetime 2001-01-01T00:00:00.000 --execute
  reset --by-duration P1D --execute
  reset --to-current --execute
  reset --to-earliest --export --execute
  both "list" groups --list
  both "list states" groups --list --state
  both "list types" groups --list --type
  both "groups list" groups-all --list
  both "groups list consumers" groups-all --list --consumer
  both "describe" groups --describe --group g
  both "describe offsets of all" groups --describe --all-groups --offsets
  both "describe members" groups --describe --group g --members --verbose
  both "describe state" groups --describe --group g --state
}
configs() {
  both "set" configs --alter --entity-type groups --entity-name g --add-config consumer.session.timeout.ms=50000
  both "set wrong" configs --alter --entity-type groups --entity-name g --add-config consumer.session.timeout.ms=1
  both "described" configs --describe --entity-type groups --entity-name g
  both "described, all" configs --describe --all --entity-type groups --entity-name g
  both "unset" configs --alter --entity-type groups --entity-name g --delete-config consumer.session.timeout.ms
}
deletes() {
  both "delete offsets" groups --delete-offsets --group g --topic gt:0
  both "delete offsets of nobody" groups --delete-offsets --group nobody --topic gt
  both "delete" groups --delete --group g
  both "delete nobody" groups --delete --group nobody
}
transactions() {
  both "transactions list" transactions list
  both "transactions describe nobody" transactions describe --transactional-id nobody
  both "describe producers" transactions describe-producers --topic gt --partition 0
  both "find hanging" transactions find-hanging --topic gt --partition 0
  both "abort nothing" transactions abort --topic gt --partition 0 --start-offset 0
}
# A transaction whose producer is gone, seen, looked into, and aborted by hand.
ongoing() {
  local here=$(dirname -- "${BASH_SOURCE[0]}") at
  for at in "$ours" "$peer"; do
    "${PYTHON:-python3}" "$here/open_transaction.py" "$at" gt left-open || echo "nothing was left open at $at"
  done
  both "list an open one" transactions list
  both "describe an open one" transactions describe --transactional-id left-open
  both "producers of an open one" transactions describe-producers --topic gt --partition 0
  both "an open one does not hang" transactions find-hanging --topic gt --partition 0 --max-transaction-timeout 0
  both "nor for the whole broker" transactions find-hanging --broker-id 1 --max-transaction-timeout 0
  both "abort at another offset" transactions abort --topic gt --partition 0 --start-offset 7
  # Says nothing when it is done.
  for at in "$ours" "$peer"; do ask "$at" transactions abort --topic gt --partition 0 --start-offset 20; done
  both "producers after that" transactions describe-producers --topic gt --partition 0
  both "what committed readers see" groups --group reader --topic gt --reset-offsets --to-latest --dry-run
}

fill "$ours" & fill "$peer"
wait
for part in ${parts[*]}; do "$part"; done
echo "$same the same, $different different"
((different == 0))
