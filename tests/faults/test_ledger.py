"""The checks of the ledger, against histories made bad by hand: each must be found."""
import collections
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


if __name__ == "__main__":
    unittest.main()
