#!/usr/bin/env python3
"""open_transaction.py ADDRESS TOPIC ID: writes three records to partition 0 within a transaction, and goes without ending it.

The transaction stays open for ten minutes, or until somebody aborts it. Needs Python 3.9+ with confluent-kafka.
"""
import os
import sys

from confluent_kafka import Producer


def main():
    address, topic, name = sys.argv[1:]
    producer = Producer({"bootstrap.servers": address, "transactional.id": name, "transaction.timeout.ms": 600_000})
    producer.init_transactions(30)
    producer.begin_transaction()
    for number in range(3):
        producer.produce(topic, value=str(number), partition=0)
    left = producer.flush(30)
    sys.stdout.flush()
    # Without a word: leaving in order would abort.
    os._exit(1 if left else 0)


if __name__ == "__main__":
    main()
