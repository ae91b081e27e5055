//! Planning a read: what the owner knows without touching a file.

use ottla_rules::ids::Offset;

use super::{
    Log,
    segment::Segment,
    slice::{Begin, End, Slice},
};

impl Log {
    /// Where the batches in `from..upto` are, at most `bytes_max` of them (one segment's worth at most; ask again for
    /// more). `None` when there are none: `from` is at `upto` or beyond, or outside the log.
    #[must_use]
    pub fn locate(&self, from: Offset, upto: Offset, bytes_max: usize) -> Option<Slice> {
        let upto = upto.min(self.end);
        if from >= upto || from < self.start {
            return None;
        }
        if let Some(active) = self.active.as_ref().filter(|active| active.segment.base() <= from) {
            return Some(self.slice_of_active(&active.segment, from, upto, bytes_max));
        }
        let after = self.closed.partition_point(|segment| segment.base() <= from);
        let Some(place) = after.checked_sub(1) else {
            // The log begins in a gap before its first segment.
            let first = self.all().next()?;
            return self.slice_at(0, first.base(), upto, bytes_max);
        };
        let mut slice = self.slice_at(place, from, upto, bytes_max)?;
        // Compaction may have left nothing of a segment.
        let empty = self.closed.iter().skip(after).take_while(|segment| segment.size == 0).count();
        slice.next = self.slice_at(after + empty, from, upto, bytes_max).map(Box::new);
        Some(slice)
    }

    /// Reading from `from` in the closed segment at `place`, or in the active one after them.
    fn slice_at(&self, place: usize, from: Offset, upto: Offset, bytes_max: usize) -> Option<Slice> {
        let Some(segment) = self.closed.get(place) else {
            let active = &self.active.as_ref()?.segment;
            return (active.base() < upto)
                .then(|| self.slice_of_active(active, from.max(active.base()), upto, bytes_max));
        };
        if segment.base() >= upto {
            return None;
        }
        let next_base =
            self.closed.get(place + 1).map(Segment::base).or(self.active.as_ref().map(|a| a.segment.base()));
        let is_all = next_base.is_some_and(|base| base <= upto);
        Some(Slice {
            files: segment.files.clone(),
            from,
            upto,
            begin: if from <= segment.base() { Begin::After(0) } else { Begin::Indexed },
            end: if is_all { End::At(segment.size) } else { End::Before(segment.size) },
            entries: segment.offsets,
            bytes_max,
            only_warm: false,
            bound: next_base,
            next: None,
        })
    }

    fn slice_of_active(&self, segment: &Segment, from: Offset, upto: Offset, bytes_max: usize) -> Slice {
        let recent = self.recent();
        let at_or_after = recent.partition_point(|batch| batch.end <= from);
        let begin = match recent.get(at_or_after) {
            // The oldest remembered batch may be the next one after a batch that is not remembered.
            Some(batch) if at_or_after > 0 || batch.base <= from => Begin::At(batch.position),
            Some(_) | None => self.begin_in_tail(segment, from),
        };
        let end = if upto == self.end {
            End::At(segment.size)
        } else {
            let after = recent.partition_point(|batch| batch.end <= upto);
            match recent.get(after).filter(|_| after > 0) {
                Some(batch) => End::At(batch.position),
                None => End::Before(segment.size),
            }
        };
        let (files, entries) = (segment.files.clone(), segment.offsets);
        Slice { files, from, upto, begin, end, entries, bytes_max, only_warm: false, bound: None, next: None }
    }

    /// Where to look for an offset that is not remembered: index entries not yet written are known here only.
    fn begin_in_tail(&self, segment: &Segment, from: Offset) -> Begin {
        if from <= segment.base() {
            return Begin::After(0);
        }
        let entry =
            self.active.as_ref().and_then(|active| active.offsets.find_in_tail(|entry| entry.last <= from));
        entry.map_or(Begin::Indexed, |entry| Begin::After(entry.position))
    }
}
