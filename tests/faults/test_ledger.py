"""The checks of the ledger, against histories made bad by hand: each must be found."""
import collections
import logging
import unittest

import ledger


def record(number, codec="none", partition=0):
    return f"{codec}:{partition}:{number}:x".encode()


class Problems(unittest.TestCase):
    def setUp(self):
        self.sent = collections.Counter({("none", 0): 3})
        self.found = {0: [(0, record(0)), (1, record(1)), (2, record(2))]}
        self.acked = {(0, n): record(n) for n in range(3)}

    def wrong(self):
        return " ".join(ledger.problems(self.acked, self.sent, self.found, {}))

    def test_a_whole_history_is_fine(self):
        self.assertEqual(self.wrong(), "")

    def test_a_lost_record_is_found(self):
        self.found[0].pop()
        self.assertIn("lost", self.wrong())

    def test_a_record_there_twice_is_found(self):
        self.found[0].append((3, record(2)))
        self.assertIn("order", self.wrong())

    def test_two_records_changed_places_is_found(self):
        self.found[0][1:] = [(1, record(2)), (2, record(1))]
        self.assertIn("order", self.wrong())

    def test_a_record_nobody_sent_is_found(self):
        self.found[0].append((3, record(3)))
        self.assertIn("invented", self.wrong())

    def test_what_was_acknowledged_without_an_offset_is_looked_for(self):
        self.assertEqual(ledger.not_there([record(1)], self.found), [])
        self.assertIn("lost", ledger.not_there([record(77)], self.found)[0])

    def test_a_gap_in_the_offsets_is_found(self):
        self.found[0][2] = (3, record(2))
        self.assertIn("offsets", self.wrong())

    def test_what_a_consumer_saw_and_is_gone_is_found(self):
        wrong = ledger.problems(self.acked, self.sent, self.found, {(0, 3): record(3)})
        self.assertIn("changed", wrong[0])


class BegunAnew(unittest.TestCase):
    """What librdkafka 2.16 says, word for word."""

    def heard(self, line):
        told, handler = logging.Logger("client"), ledger.BegunAnew()
        told.addHandler(handler)
        told.debug("%s [ledger-none#producer-3] [thrd:127.0.0.1:9092/1]: %s", *line)
        return handler.said

    def test_a_new_epoch_is_heard_with_its_cause(self):
        cause = "failed due to skipped sequence numbers (PID{Id:0,Epoch:0}, base seq 8935 > next seq 8934) caused by previous failed request"
        self.assertIn(cause, self.heard(("ERRSEQ", f"ProduceRequest for ledger [4] with 15 message(s) {cause}"))[0])
        self.assertTrue(self.heard(("DRAIN", "Beginning partition drain in state Assigned for PID{Id:0,Epoch:0} epoch bump for 2 partition(s)")))

    def test_trying_again_in_the_same_epoch_is_nothing(self):
        self.assertEqual(self.heard(("DRAIN", "ledger [4] beginning partition drain: drain before retrying")), [])
        self.assertEqual(self.heard(("RESETSEQ", "ledger [5] resetting epoch base seq from 0 to 1")), [])


if __name__ == "__main__":
    unittest.main()
